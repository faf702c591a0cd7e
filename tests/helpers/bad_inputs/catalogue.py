"""All cases, and the fixed sample of them that the suite runs."""

from helpers.bad_inputs import datasets, dicom, meshes, pictures, runs, studies, tables, volumes
from helpers.bad_inputs.case import Case

MODULES = (pictures, volumes, tables, meshes, dicom, datasets, runs, studies)
READERS = (
    *("pictures", "TIFF", "NIfTI", "NPY", "CSV", "CSV of labels", "NPZ", "OBJ", "IDX", "DICOM"),
    *("manifest.json", "shards", "config.yaml", "meta.json", "safetensors", "study journals"),
)
SAMPLE_PER_READER = 3


def all_cases() -> list[Case]:
    """Every case, in the order of its reader; titles are unique."""
    cases = [case for module in MODULES for case in module.cases()]
    titles = [case.title for case in cases]
    assert len(set(titles)) == len(titles), sorted(titles)
    assert {case.reader for case in cases} == set(READERS)
    return cases


def sample(cases: list[Case], num: int = SAMPLE_PER_READER) -> list[Case]:
    """The same few of every reader, spread evenly over its list."""
    readers = dict.fromkeys(case.reader for case in cases)
    chosen = []
    for reader in readers:
        own = [case for case in cases if case.reader == reader]
        chosen += [own[(2 * place + 1) * len(own) // (2 * num)] for place in range(num)]
    return chosen
