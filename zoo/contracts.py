"""Hold every built-in plug-in to the Protocol of its folder: mypy reports one that does not fit.

Each mapping has the modules of one folder by their names. Nothing imports this module but the test that compares the
mappings with the folders; `zoo.plugins.load` checks the plug-ins of other distributions when it loads them.

`zoo/commands/import.py` is missing from COMMANDS because `import` is a keyword; that test checks it instead.
"""

from __future__ import annotations

from collections.abc import Mapping

from zoo.accuracy import datasets
from zoo.accuracy.datasets import digits, folder, idx
from zoo.accuracy.datasets import hf as hf_dataset
from zoo.conversion import dialects
from zoo.conversion.dialects import csv, model_index
from zoo.conversion.dialects import hf as hf_dialect
from zoo.conversion.dialects import timm as timm_dialect
from zoo.conversion.dialects import torchvision as torchvision_dialect
from zoo.flops import conventions
from zoo.flops.conventions import flops as flops_convention
from zoo.flops.conventions import fvcore, macs, thop, thop_0_1
from zoo.flops.conventions import torchvision as torchvision_convention
from zoo.models import builders
from zoo.models.builders import python
from zoo.models.builders import timm as timm_builder
from zoo.models.builders import torchvision as torchvision_builder
from zoo.runtime import engines
from zoo.runtime.engines import local, ray
from zoo.verification import checks, formats, rules
from zoo.verification.checks import accuracy, build, consistency, files, fingerprint, loading, params, remote, schema
from zoo.verification.checks import data as data_check
from zoo.verification.checks import flops as flops_check
from zoo.verification.formats import github, json, markdown, sarif, text
from zoo.verification.rules import addresses, counts, inputs, limits, references, results, weights
from zoo.weights import sources
from zoo.weights.sources import file, https
from zoo.weights.sources import hf as hf_source

BUILDERS: Mapping[str, builders.ModelBuilder] = {
    "python": python,
    "timm": timm_builder,
    "torchvision": torchvision_builder,
}
CHECKS: Mapping[str, checks.Check] = {
    "accuracy": accuracy,
    "build": build,
    "consistency": consistency,
    "data": data_check,
    "files": files,
    "fingerprint": fingerprint,
    "flops": flops_check,
    "loading": loading,
    "params": params,
    "remote": remote,
    "schema": schema,
}
CONVENTIONS: Mapping[str, conventions.Convention] = {
    "flops": flops_convention,
    "fvcore": fvcore,
    "macs": macs,
    "thop": thop,
    "thop_0_1": thop_0_1,
    "torchvision": torchvision_convention,
}
DATASETS: Mapping[str, datasets.Reader] = {"digits": digits, "folder": folder, "hf": hf_dataset, "idx": idx}
FILE_DIALECTS: Mapping[str, dialects.FileDialect] = {"csv": csv, "hf": hf_dialect, "model_index": model_index}
COLLECTION_DIALECTS: Mapping[str, dialects.CollectionDialect] = {"model_index": model_index}
NAMED_DIALECTS: Mapping[str, dialects.NamedDialect] = {
    "hf": hf_dialect,
    "timm": timm_dialect,
    "torchvision": torchvision_dialect,
}
ENGINES: Mapping[str, engines.Engine] = {"local": local, "ray": ray}
FORMATS: Mapping[str, formats.Format] = {
    "github": github,
    "json": json,
    "markdown": markdown,
    "sarif": sarif,
    "text": text,
}
RULES: Mapping[str, rules.RuleModule] = {
    "addresses": addresses,
    "counts": counts,
    "inputs": inputs,
    "limits": limits,
    "references": references,
    "results": results,
    "weights": weights,
}
SOURCES: Mapping[str, sources.SourceModule] = {"file": file, "hf": hf_source, "https": https}
