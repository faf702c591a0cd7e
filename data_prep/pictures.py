"""The pictures of a dataset, by what it holds."""

from pathlib import Path

from data_prep.store.reader import PairStore


def write_pictures(store: PairStore, sheet: Path | None, split: str) -> dict[str, Path]:
    """Write a contact sheet, and of episodes an animation beside it; what each is, and where.

    An empty `split` chooses the one that shows most. Raises ValueError for an unknown one, and
    for a sheet with the ending of an animation.
    """
    if sheet is not None and sheet.suffix.lower() == ".gif":
        raise ValueError(
            f"out={sheet} is the name of the contact sheet, a png; an animation takes it with the"
            " ending gif"
        )
    path = sheet or store.root / "contact_sheet.png"
    if "sequences" in store.manifest.generator:
        from data_prep.sequence_sheet import write_sequence_sheet

        write_sequence_sheet(path, store, split or "train")
        return {"contact sheet": path}
    if "world" not in store.manifest.generator:
        from data_prep.contact_sheet import write_contact_sheet

        write_contact_sheet(path, store, split or "train")
        return {"contact sheet": path}
    from data_prep.episode_player import write_episode_player
    from data_prep.episode_sheet import write_episode_sheet

    split = split or "test"
    animation = sheet.with_suffix(".gif") if sheet else store.root / "episodes.gif"
    write_episode_sheet(path, store, split)
    write_episode_player(animation, store, split)
    return {"contact sheet": path, "animation": animation}
