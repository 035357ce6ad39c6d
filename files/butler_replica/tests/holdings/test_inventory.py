from __future__ import annotations

import uuid

import numpy as np
from lsst.daf.butler import Butler

from butler_replica.artifacts.places import Unseen
from butler_replica.holdings.inventory import Group, Inventory, State, as_bytes, as_uuids, take_inventory
from butler_replica.internals import artifact_path
from kit.repositories import add_datasets


def test_ids_are_found_also_with_null_bytes():
    ids = [uuid.UUID(int=number << shift) for shift in (0, 8, 64, 120) for number in (1, 2, 255)]
    array = np.sort(as_bytes(ids))
    inventory = Inventory(
        [Group("t", "r")], array, np.zeros(12, np.int32), np.full(12, State.STORED, np.uint8)
    )
    assert sorted(as_uuids(array)) == sorted(ids)
    assert [as_uuids(array)[place] for place in inventory.find(as_bytes(ids))] == ids
    assert (
        inventory.find(as_bytes([uuid.UUID(int=3), uuid.UUID(int=3 << 120), uuid.UUID(int=0)])).tolist()
        == [-1] * 3
    )


def test_states(repository, tmp_path):
    data = tmp_path / "data"
    refs = add_datasets(repository, data, transfer="symlink")
    butler = Butler.from_config(str(repository), writeable=True)
    butler._datastore.forget(refs[:1])
    (data / "bias_1.yaml").unlink()
    inventory = take_inventory(butler, places=True)
    assert inventory.groups == [Group("bias", "run/bias")]
    places = inventory.find(as_bytes(ref.id for ref in refs))
    assert inventory.state[places].tolist() == [State.REGISTERED, State.DANGLING, State.STORED, State.STORED]
    assert inventory.places is not None
    assert inventory.places.unseen({0}) == []
    assert inventory.places.witnesses({0}) == [str(data / "bias_2.yaml")]
    data.rename(tmp_path / "away")
    places = take_inventory(butler, places=True).places
    assert places is not None
    assert places.unseen({0}) == [Unseen(str(data), 3, "there is no such folder")]
    assert places.unseen(set()) == places.unseen({0}, [str(tmp_path)]) == []


def test_paths_are_those_of_the_butler(make_repository, tmp_path):
    """Spaces, percent signs and direct ingest give records that are no plain paths."""
    repository = make_repository()
    for transfer in ("direct", "copy"):
        kind = f"kind_{transfer}"
        add_datasets(
            repository,
            tmp_path / "with space, 100% and more",
            kind=kind,
            run=f"run/{transfer}",
            transfer=transfer,
        )
    butler = Butler.from_config(str(repository))
    locate = artifact_path(butler)
    paths = dict(repository.sql("SELECT dataset_id, path FROM file_datastore_records"))
    refs = [
        ref for name in ("direct", "copy") for ref in butler.query_datasets(f"kind_{name}", f"run/{name}")
    ]
    assert len(refs) == len(paths) == 8
    for ref in refs:
        path = next(path for key, path in paths.items() if uuid.UUID(str(key)) == ref.id)
        assert locate(path) == butler.getURI(ref).ospath
    assert take_inventory(butler).state.tolist() == [State.STORED] * 8
    zipped = locate("run/direct/all.zip#unzip=member.fits&zip-path=x")
    assert zipped == f"{repository.root}/run/direct/all.zip"
