"""Final evaluation of world models: metrics over episodes, curves, and pictures."""

from pipeline.measuring import Findings, Subject, device_of
from pipeline.methods.world_model.measures.encoding import Episodes, read_episodes
from pipeline.methods.world_model.measures.measure import measure_episodes
from pipeline.methods.world_model.measures.turning import turning_solid
from pipeline.methods.world_model.pictures.rollouts import decoded_frames, nearest_frames
from pipeline.methods.world_model.pictures.write import (
    draw_irreps,
    draw_latent_grid,
    draw_orbits,
    draw_rollouts,
    draw_traversals,
    state_angles,
)
from pipeline.world_models.homeomorphic_vae import HomeomorphicVAE
from pipeline.world_models.world_model import WorldModel


def measure(subject: Subject) -> Findings:
    """See `pipeline.methods.world_model.measures`."""
    model = _model(subject)
    episodes = episodes_of(subject)
    return Findings(
        *measure_episodes(model, episodes, subject.manifest, subject.batch, device_of(model))
    )


def draw(subject: Subject) -> None:
    """What fits the world, below pictures/."""
    model, episodes, batch = _model(subject), episodes_of(subject), subject.batch
    device, step = device_of(model), subject.run.step
    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    if isinstance(model, HomeomorphicVAE):
        show = decoded_frames(model.decode, episodes, batch)
        draw_orbits(
            folder / "decoded_orbit.png",
            model,
            episodes,
            show,
            device,
            f"Latents moved by {model.group.name} and decoded, step {step}",
        )
    else:
        show = nearest_frames(model, episodes, batch, device)
    draw_rollouts(folder / "rollouts.png", model, episodes, show, device, f"Rollouts, step {step}")
    title = f"Latents of test states, step {step}"
    cells = subject.manifest.facts.cells
    draw_latent_grid(folder / "latent_grid.png", model, episodes, cells, batch, device, title)
    title = f"Latents of test states, split into irreps of {model.group.name}, step {step}"
    angles = state_angles(subject.manifest)
    draw_irreps(folder / "irreps.png", model, episodes, angles, batch, device, title)
    solid = turning_solid(subject.manifest, model.group)
    if solid is not None:
        title = f"A whole turn in 30 steps about each axis, step {step}"
        draw_traversals(folder / "traversal.png", model, episodes, solid, batch, device, title)


def episodes_of(subject: Subject) -> Episodes:
    """The episodes that are meant; ValueError for a dataset without any."""
    return read_episodes(
        subject.manifest, subject.reader, subject.split, subject.run.group, subject.max_records
    )


def _model(subject: Subject) -> WorldModel:
    assert isinstance(subject.run.model, WorldModel)
    return subject.run.model
