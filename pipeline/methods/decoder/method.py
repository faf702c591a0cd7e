"""Decoders of a frozen world model's latents."""

from pipeline.measuring import Findings, Subject
from pipeline.methods.decoder.settings import DecoderConfig
from pipeline.methods.decoder.task import DecoderTask
from pipeline.methods.interface import Method


def _measure(subject: Subject) -> Findings:
    from pipeline.methods.decoder.task import measure

    return measure(subject)


def _draw(subject: Subject) -> None:
    from pipeline.methods.decoder.task import draw

    draw(subject)


METHOD = Method("decoder", DecoderConfig, DecoderTask, _measure, _draw)
