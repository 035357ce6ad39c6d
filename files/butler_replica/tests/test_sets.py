from __future__ import annotations

from pathlib import Path

import pytest
from lsst.daf.butler import CollectionType

from butler_replica.errors import ReplicaError
from butler_replica.sets import load_description, parse_collections, parse_sets

MINIMAL = {"name": "raws", "stage": "raw", "exports": "/data/raw"}


@pytest.mark.parametrize(
    "rewrite",
    [
        [{"old": "/old/a", "new": "/new"}, {"old": "/old", "new": ""}],
        {"/old/a": "/new", "/old": ""},
        [["/old/a", "/new"], ("/old", "")],
        ["/old/a=/new", "/old="],
        [{"old": "/old/a", "new": "/new"}, "/old="],
    ],
)
def test_rewrite_may_be_written_in_many_ways(rewrite):
    (one,) = parse_sets([{**MINIMAL, "rewrite": rewrite}])
    assert one.rewrite == (("/old/a", "/new"), ("/old", ""))


def test_one_rule_and_one_export_need_no_list():
    (one,) = parse_sets([{**MINIMAL, "rewrite": {"old": "/a", "new": "/b"}}])
    assert one.rewrite == (("/a", "/b"),)
    assert parse_sets([{**MINIMAL, "rewrite": "/a=/b"}])[0].rewrite == one.rewrite
    assert one.exports == ("/data/raw",)
    assert parse_sets([{**MINIMAL, "exports": ["/a", Path("/b/*.yaml")]}])[0].exports == ("/a", "/b/*.yaml")


def test_defaults():
    (one,) = parse_sets([{**MINIMAL, "artifacts": None, "rewrite": None, "roots": None, "formatters": None}])
    assert one.options() == {
        "artifacts": None,
        "rewrite": (),
        "roots": (),
        "collections": "keep",
        "missing": "fail",
        "placeholders": "missing",
        "formatters": (),
        "unknown_formatters": "notice",
        "transfer": "symlink",
        "runs": (),
        "register": False,
        "exclusive": False,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"missing": "ignore"}, r"import set 'raws': missing: .*'fail', 'skip' or 'register', not 'ignore'"),
        ({"stage": "rawe"}, r"import set 'raws': stage: .*'instrument'.*not 'rawe'"),
        ({"transfer": "move"}, r"import set 'raws': transfer: 'move' is none of symlink"),
        ({"artefacts": "/x"}, r"import set 'raws': unknown key 'artefacts'"),
        ({"exports": []}, r"import set 'raws': exports: .*at least 1"),
        ({"exports": None}, r"import set 'raws': exports: "),
        ({"rewrite": ["/old"]}, r"import set 'raws': rewrite: .*'/old' is no rewriting rule; write OLD=NEW"),
        ({"rewrite": [{"from": "/a", "to": "/b"}]}, r"rewrite: a rule has the keys 'old' and 'new'.*from"),
        ({"rewrite": [{"old": "/a", "new": 3}]}, r"rewrite: prefixes are text"),
        ({"rewrite": 7}, r"import set 'raws': rewrite: "),
        ({"name": ""}, r"import set number 1: name: "),
    ],
)
def test_problems_name_the_set_and_the_key(change, message):
    with pytest.raises(ReplicaError, match=message):
        parse_sets([{**MINIMAL, **change}])


def test_all_problems_at_once():
    with pytest.raises(ReplicaError) as caught:
        parse_sets(
            [{"name": "one"}, {**MINIMAL, "missing": "x", "collections": "y"}, MINIMAL, MINIMAL, "text"]
        )
    text = str(caught.value)
    for part in (
        "import set 'one': key 'exports' is missing",
        "import set 'raws': missing: ",
        "import set 'raws': collections: ",
        "import set 'raws': there are several",
        "import set number 5: ",
    ):
        assert part in text
    with pytest.raises(ReplicaError, match="are to be a list"):
        parse_sets(MINIMAL)


def test_collections():
    chain, run = parse_collections(
        [{"name": "c", "type": "chained", "children": "r", "doc": "Text."}, {"name": "r", "type": "RUN"}]
    )
    assert (chain.type, chain.children, chain.stage) == (CollectionType.CHAINED, ("r",), "chains")
    assert run.children == ()
    with pytest.raises(ReplicaError, match="collection 'r': a RUN collection has no children"):
        parse_collections([{"name": "r", "type": "RUN", "children": ["x"]}])


def test_description_in_a_file(tmp_path):
    path = tmp_path / "dc2.yml"
    path.write_text("dc2_import_sets: [{name: a, exports: /a}]\nother: 1\n")
    sets, collections = load_description(path)
    assert [one.name for one in sets] == ["a"]
    assert collections == []
    for text, message in {
        "other: 1": "has neither of the keys",
        "dc2_import_sets: [": "cannot be read as YAML",
        "dc2_import_sets: [{name: a}]": "dc2.yml: import set 'a': key 'exports' is missing",
    }.items():
        path.write_text(text)
        with pytest.raises(ReplicaError, match=message):
            load_description(path)
    with pytest.raises(ReplicaError, match=r"no\.yml"):
        load_description(tmp_path / "no.yml")
