"""Final evaluation of decoders of frozen world models: what they draw, in pictures."""

from pipeline.analysis.records import device_of
from pipeline.evaluation.final import Findings, Subject
from pipeline.evaluation.pictures.worlds.showing import decoded_frames
from pipeline.evaluation.pictures.worlds.write import draw_orbits, draw_rollouts
from pipeline.evaluation.world_model import episodes_of
from pipeline.tasks.decoder.frozen import FrozenModelWithDecoder


def measure(subject: Subject) -> Findings:
    """Nothing beyond the losses and the PSNR that training knows."""
    return Findings({})


def draw(subject: Subject) -> None:
    """pictures/rollouts.png, and decoded_orbit.png where the group acts on latents."""
    model = subject.run.model
    assert isinstance(model, FrozenModelWithDecoder)
    episodes, device, step = episodes_of(subject), device_of(model), subject.run.step
    show = decoded_frames(model.decode, episodes)
    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    world_model, name = model.world_model, model.world_model.group.name
    title = f"Rollouts, decoded, step {step}"
    draw_rollouts(folder / "rollouts.png", world_model, episodes, show, device, title)
    title = f"Latents moved by {name} and decoded, step {step}"
    draw_orbits(folder / "decoded_orbit.png", world_model, episodes, show, device, title)
