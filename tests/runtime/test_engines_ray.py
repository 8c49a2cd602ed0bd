from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.digit_images import dataset
from tests.helpers.project import ROOT
from tests.runtime.test_engines import double, fail
from zoo.accuracy.evaluate import Counts, EvaluationProgress, measure
from zoo.errors import CannotCheck, WrongContent
from zoo.models.subject import Evaluation, Settings, Subject
from zoo.registry.catalog import Member, load_catalog
from zoo.runtime.engines import Options, in_order

STORE_BYTES = 80_000_000


def ray_or_skip() -> Any:
    return pytest.importorskip("ray", reason="pip install 'zoo-verify[ray]'")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes on this machine, a core each; this process is connected to it."""
    ray = ray_or_skip()
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where the nodes' workers find zoo and these tests
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    arguments = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    two_nodes = Cluster(initialize_head=True, head_node_args=arguments)
    two_nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    ray.init(address=two_nodes.address, log_to_driver=False, logging_level="ERROR")
    yield two_nodes
    ray.shutdown()
    two_nodes.shutdown()


def test_every_task_has_its_outcome_and_errors_come_back(cluster: Any) -> None:
    from zoo.runtime.engines import ray as engine

    outcomes = in_order(engine.run(double, range(6), Options()))
    assert [outcome.result() for outcome in outcomes] == [0, 2, 4, 6, 8, 10]
    (failed,) = engine.run(fail, ["wrong"], Options())
    assert isinstance(failed.error, WrongContent) and failed.error.hint == "again"


def test_an_evaluation_whose_node_dies_in_the_middle_counts_the_same(cluster: Any) -> None:
    zoo, events = load_catalog(), list[EvaluationProgress]()

    def tell(event: EvaluationProgress) -> None:
        if not events:
            (second,) = cluster.worker_nodes
            cluster.remove_node(second, allow_graceful=False)
        events.append(event)

    how = Evaluation(engine="ray")
    subject = Subject(Member(zoo.find("resnest_digits"), zoo), Settings(device="cpu", evaluation=how, on_progress=tell))
    assert measure(subject, dataset(zoo, "digits"), "validation").counts == Counts(360, 359, 360)
    assert len(events) == 8 and not cluster.worker_nodes


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from zoo.runtime.engines import ray as engine

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CannotCheck) as raised:
        next(engine.run(double, range(2), Options()))
    assert raised.value.hint == "pip install 'zoo-verify[ray]'"
