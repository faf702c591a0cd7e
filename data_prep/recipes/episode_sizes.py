"""How many episodes of which length each split holds."""

from dataclasses import dataclass

from data_prep.settings import EpisodeDatasetConfig, PrepareConfig
from data_prep.store.manifest import SPLITS
from pipeline.groups import Group

TRAIN_EPISODES_A_VAL_EPISODE = 20


@dataclass(frozen=True)
class EpisodeSizes:
    """For each split the number of episodes, steps of an episode, and transforms of it.

    `num_elements` counts the episode itself.
    """

    num_episodes: dict[str, int]
    episode_length: dict[str, int]
    num_elements: dict[str, int]


def episode_sizes(
    config: PrepareConfig, dataset: EpisodeDatasetConfig, group: Group
) -> EpisodeSizes:
    """The sizes that a configuration asks for.

    A number of validation episodes that is null is a twentieth of those for training; one of
    test episodes makes as many transitions as there are for training, up to `max_test_episodes`.
    """
    num_train = config.num_episodes or config.num_samples or dataset.num_episodes
    length = config.episode_length or dataset.episode_length
    test_length = dataset.test_episode_length
    num_val = dataset.num_val_episodes or max(1, num_train // TRAIN_EPISODES_A_VAL_EPISODE)
    num_like_train = max(1, num_train * length // test_length)
    num_test = dataset.num_test_episodes or min(dataset.max_test_episodes, num_like_train)
    counts = (num_train, num_val, num_test)
    return EpisodeSizes(
        dict(zip(SPLITS, counts, strict=True)),
        dict(zip(SPLITS, (length, length, test_length), strict=True)),
        dict(zip(SPLITS, (1, 1, _num_elements(dataset.num_twins, group)), strict=True)),
    )


def _num_elements(num_twins: int | None, group: Group) -> int:
    """The identity and the elements that make the twins."""
    if num_twins is None:
        if group.num_elements is None:
            raise ValueError(
                f"dataset.num_twins=null takes all elements, and group {group.name} has no end of"
                " them: give dataset.num_twins=N"
            )
        return group.num_elements
    if group.num_elements is not None and num_twins >= group.num_elements:
        raise ValueError(
            f"dataset.num_twins={num_twins} is more than the {group.num_elements - 1} elements"
            f" that {group.name} has beside the identity"
        )
    return 1 + num_twins
