"""Everything that a plug-in package needs from Orbit: `from orbit import Method, Kind, ...`.

What `make` of a `Kind` takes and returns:

    sources    make(config, seed, num_samples) -> ImageSource
    worlds     make(config, actions) -> World: `actions` are those that training is limited to
    groups     make() -> Group, whose name is that of the entry point
    networks   make(config, frame_shape) -> (encoder, decoder, latent_shape)
    loggers    make(start) -> Tracker: see pipeline/loggers.py; config=None
    actions    make(config, group, frame_shape, latent_shape) -> module(latent, g), block_sizes

and of a `Method`: make(config, manifest, device) -> Task. A name is imported when it is first used,
so that settings can be read without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_prep.sources.interface import ImageSource as ImageSource
    from data_prep.worlds.draws import DrawKey as DrawKey
    from data_prep.worlds.draws import integers as integers
    from data_prep.worlds.interface import World as World
    from orbit.core.actions import ActionComponent as ActionComponent
    from orbit.core.config.limits import Count as Count
    from orbit.core.config.limits import Limit as Limit
    from orbit.core.config.limits import NotNegative as NotNegative
    from orbit.core.config.limits import Positive as Positive
    from orbit.core.config.limits import Share as Share
    from orbit.core.config.limits import limited as limited
    from orbit.core.config.program import run_program as run_program
    from orbit.core.config.schema import FilePath as FilePath
    from orbit.core.groups import Group as Group
    from orbit.core.groups import Irrep as Irrep
    from orbit.core.groups import make_group as make_group
    from orbit.core.groups.permutations import PermutationGroup as PermutationGroup
    from orbit.core.groups.words import read_element as read_element
    from orbit.core.metrics import Column as Column
    from orbit.core.metrics import Metric as Metric
    from orbit.core.pictures import save_figure as save_figure
    from orbit.core.plugins import Kind as Kind
    from orbit.core.plugins import Open as Open
    from orbit.core.printing import say as say
    from orbit.core.store.facts import HeldOut as HeldOut
    from orbit.core.store.facts import ListedActions as ListedActions
    from orbit.core.store.facts import RangeOfActions as RangeOfActions
    from orbit.core.store.facts import Solid as Solid
    from orbit.core.store.facts import StateAngles as StateAngles
    from orbit.core.store.facts import WorldFacts as WorldFacts
    from orbit.core.store.manifest import ColumnSpec as ColumnSpec
    from orbit.core.store.manifest import FrameSpec as FrameSpec
    from orbit.core.store.manifest import Manifest as Manifest
    from orbit.core.store.reader import PairStore as PairStore
    from pipeline.data.packing import Batch as Batch
    from pipeline.global_batch import GlobalBatchNorm as GlobalBatchNorm
    from pipeline.global_batch import gather_rows as gather_rows
    from pipeline.measuring import Findings as Findings
    from pipeline.measuring import Subject as Subject
    from pipeline.measuring import TrainedModel as TrainedModel
    from pipeline.methods.interface import Evaluation as Evaluation
    from pipeline.methods.interface import Latents as Latents
    from pipeline.methods.interface import Method as Method
    from pipeline.methods.interface import PlainTask as PlainTask
    from pipeline.methods.interface import Task as Task
    from pipeline.methods.latent_action.evaluation import (
        LatentActionEvaluation as LatentActionEvaluation,
    )
    from pipeline.methods.latent_action.settings import LatentActionConfig as LatentActionConfig
    from pipeline.methods.latent_action.task import LatentActionTask as LatentActionTask
    from pipeline.models.latent_action import LatentActionModel as LatentActionModel
    from pipeline.models.latent_action import LatentParts as LatentParts
    from pipeline.models.networks import make_network as make_network
    from pipeline.models.settings import LatentActionSettings as LatentActionSettings
    from pipeline.models.settings import NetworkConfig as NetworkConfig
    from pipeline.programs import Program as Program
    from pipeline.runs import Run as Run
    from pipeline.runs import load_run as load_run

PLACES = {
    "orbit.core.actions": ("ActionComponent",),
    "orbit.core.config.limits": ("Count", "Limit", "NotNegative", "Positive", "Share", "limited"),
    "orbit.core.config.program": ("run_program",),
    "orbit.core.config.schema": ("FilePath",),
    "orbit.core.groups": ("Group", "Irrep", "make_group"),
    "orbit.core.groups.permutations": ("PermutationGroup",),
    "orbit.core.groups.words": ("read_element",),
    "orbit.core.metrics": ("Column", "Metric"),
    "orbit.core.pictures": ("save_figure",),
    "orbit.core.plugins": ("Kind", "Open"),
    "orbit.core.printing": ("say",),
    "orbit.core.store.facts": (
        *("HeldOut", "ListedActions", "RangeOfActions", "Solid", "StateAngles", "WorldFacts"),
    ),
    "orbit.core.store.manifest": ("ColumnSpec", "FrameSpec", "Manifest"),
    "orbit.core.store.reader": ("PairStore",),
    "data_prep.sources.interface": ("ImageSource",),
    "data_prep.worlds.draws": ("DrawKey", "integers"),
    "data_prep.worlds.interface": ("World",),
    "pipeline.data.packing": ("Batch",),
    "pipeline.global_batch": ("GlobalBatchNorm", "gather_rows"),
    "pipeline.measuring": ("Findings", "Subject", "TrainedModel"),
    "pipeline.methods.interface": ("Evaluation", "Latents", "Method", "PlainTask", "Task"),
    "pipeline.methods.latent_action.evaluation": ("LatentActionEvaluation",),
    "pipeline.methods.latent_action.settings": ("LatentActionConfig",),
    "pipeline.methods.latent_action.task": ("LatentActionTask",),
    "pipeline.models.latent_action": ("LatentActionModel", "LatentParts"),
    "pipeline.models.networks": ("make_network",),
    "pipeline.models.settings": ("LatentActionSettings", "NetworkConfig"),
    "pipeline.programs": ("Program",),
    "pipeline.runs": ("Run", "load_run"),
}
"""Modules, and the names that a package may use of them."""
MODULE_OF = {name: module for module, names in PLACES.items() for name in names}
__all__ = sorted(MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in MODULE_OF:
        raise AttributeError(f"orbit has no {name!r}; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(MODULE_OF[name]), name)
    globals()[name] = value
    return value
