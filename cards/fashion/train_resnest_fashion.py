"""Train resnest_fashion on Fashion-MNIST's 60,000 training images and write its weights beside this file.

    apt-get install dataset-fashion-mnist
    python cards/fashion/train_resnest_fashion.py

writes `cards/fashion/resnest_fashion-<8 digits>.safetensors`, named with the first digits of its own sha256, after a few
minutes on one core. The arithmetic, and so the bytes, differ from processor to processor: the card's digest is the shipped
file's, and a retrained file is another model that needs a card of its own. The 10,000 test images are used only once, after
training, so the card's accuracy is unbiased.
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
DATA = Path("/usr/share/datasets/fashion-mnist")

SEED = 0  # the first one; none was chosen by its result
EPOCHS = 5
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 6e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05
LARGEST_SHIFT = 2  # pixels of the 32 x 32 input
MEAN, STD = 0.286, 0.353  # of the training images' pixels
BACKGROUND = -MEAN / STD  # black after normalising


def main() -> None:
    """Train once, write the file, and print what the card claims about it."""
    torch.set_num_threads(1)  # sums split over threads are added in another order, which changes the bytes
    model = train(*read("train"))
    path = write(model)
    print(f"{path.name}: {path.stat().st_size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    for k, correct in count(model, *read("t10k")).items():
        print(f"top{k}: {correct} of 10000")


def read(prefix: str) -> tuple[Tensor, Tensor]:
    """The images, float32 (n, 3, 32, 32) as the network sees them, and their labels, int64 (n,).

    The preprocessing is the card's own and the same for training and evaluation: timm's evaluation transform.
    """
    transform = create_transform(
        input_size=(3, 32, 32),
        is_training=False,
        interpolation="bilinear",
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        crop_pct=1.0,
    )
    pixels = gzip.decompress((DATA / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((DATA / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
    pictures = (Image.frombytes("L", (28, 28), pixels[at : at + 784]) for at in range(0, len(pixels), 784))
    return torch.stack([transform(picture.convert("RGB")) for picture in pictures]), torch.tensor(list(labels))


def train(images: Tensor, labels: Tensor) -> nn.Module:
    """The network after EPOCHS passes over the images, in eval mode.

    Source of the schedule: Smith and Topin 2018, "Super-Convergence", arXiv:1708.07120, in torch's OneCycleLR.
    """
    torch.manual_seed(SEED)
    model = create_model("resnest14d", num_classes=10, channels=(8, 16, 24, 32), stem_width=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = len(labels) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * batches)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(labels))[: batches * BATCH_SIZE].split(BATCH_SIZE):
            scores = model(varied(images[batch]))
            loss = functional.cross_entropy(scores, labels[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {loss.item():.3f} in its last batch", flush=True)
    return model.eval()


def varied(images: Tensor) -> Tensor:
    """The batch (n, 3, 32, 32), each image mirrored or not, and all moved by up to LARGEST_SHIFT pixels both ways."""
    mirrored = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images, images.flip(3))
    padded = functional.pad(mirrored, (LARGEST_SHIFT,) * 4, value=BACKGROUND)
    y, x = torch.randint(2 * LARGEST_SHIFT + 1, (2,)).tolist()
    return padded[:, :, y : y + 32, x : x + 32]


@torch.no_grad()
def count(model: nn.Module, images: Tensor, labels: Tensor) -> dict[int, int]:
    """How many images have their label first, and among the five highest outputs."""
    scores = torch.cat([model(batch) for batch in images.split(250)])
    right = scores.topk(5).indices == labels[:, None]
    return {1: int(right[:, 0].sum()), 5: int(right.any(1).sum())}


def write(model: nn.Module) -> Path:
    """Write the model's state beside this file and return the path; the same state gives the same bytes."""
    content = save(model.state_dict(), metadata={"format": "pt"})
    path = HERE / f"resnest_fashion-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    main()
