from __future__ import annotations

from pathlib import Path

import pytest

from butler_replica.errors import ReplicaError
from butler_replica.options import ImportOptions
from butler_replica.sets import load_description, parse_collections, parse_options, parse_sets

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


def test_what_is_none_was_not_given():
    nothing = dict.fromkeys(("artifacts", "rewrite", "roots", "formatters", "missing", "stage", "visits"))
    assert parse_sets([{**MINIMAL, **nothing}]) == parse_sets([{**MINIMAL, "stage": "products"}])
    assert parse_options({"artifacts": ""}) == parse_options({}) == ImportOptions()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("~/data", "{home}/data"),
        ("~nobody-of-this-name/data", "{here}/~nobody-of-this-name/data"),
        ("data", "{here}/data"),
        ("file:///data/of%20mine", "/data/of mine"),
        ("/data/a/../b", "/data/b"),
        ("{here}/link/../b", "{real}/b"),
        ("{here}/link/b", "{here}/link/b"),
        ("/data/*/../b", "/data/*/../b"),
        ("/data//b/.", "/data/b"),
    ],
)
def test_everybody_means_the_same_place(given, meant, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/below")
    given = given.format(here=tmp_path)
    wanted = meant.format(home=tmp_path / "home", here=tmp_path, real=tmp_path / "real")
    (one,) = parse_sets([{**MINIMAL, "exports": given, "artifacts": given, "roots": given}])
    assert one.exports == (wanted,)
    assert one.artifacts == Path(wanted)
    assert one.roots == (Path(wanted),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"missing": "ignore"}, r"import set 'raws': missing: .*'fail', 'skip' or 'register', not 'ignore'"),
        ({"stage": "rawe"}, r"import set 'raws': stage: .*'instrument'.*not 'rawe'"),
        ({"transfer": "move"}, r"import set 'raws': transfer: .*'symlink', .* or 'none', not 'move'"),
        ({"artefacts": "/x"}, r"import set 'raws': unknown key 'artefacts'; perhaps 'artifacts' is meant"),
        ({"exports": []}, r"import set 'raws': exports: .*at least 1"),
        ({"exports": None}, r"import set 'raws': key 'exports' is missing"),
        ({"exports": 3}, r"import set 'raws': exports: input should be a valid tuple"),
        (
            {"artifacts": "file://other/x"},
            r"import set 'raws': artifacts: file://other/x: a file of another host",
        ),
        ({"xyz": 1}, r"import set 'raws': unknown key 'xyz'; there are name, exports, artifacts, "),
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
    assert (chain.type, chain.children, chain.stage) == ("CHAINED", ("r",), "chains")
    assert run.children == ()
    with pytest.raises(ReplicaError, match="collection 'r': type: .*'RUN', .*, not 'HEAP'"):
        parse_collections([{"name": "r", "type": "heap"}])
    with pytest.raises(ReplicaError, match="collection 'r': a RUN collection has no children"):
        parse_collections([{"name": "r", "type": "RUN", "children": ["x"]}])


def test_description_in_a_file(tmp_path):
    path = tmp_path / "dc2.yml"
    path.write_text("dc2_import_sets: [{name: a, exports: /a}]\nother: '{{ x }}'\n")
    sets, collections = load_description(path)
    assert [one.name for one in sets] == ["a"]
    assert collections == []
    for text, message in {
        "other: 1": "has neither of the keys",
        "dc2_import_sets: [": "cannot be read as YAML",
        "dc2_import_sets: [{name: a}]": "dc2.yml: import set 'a': key 'exports' is missing",
        "dc2_import_sets: [{name: a, exports: ['{{ root }}/a']}]": (
            r"dc2_import_sets\[a\]\.exports\[1\] is '{{ root }}/a', a template, .* Ansible .*--tags verify"
        ),
        "dc2_import_sets: '{{ mine }}'": "dc2_import_sets is '{{ mine }}', a template",
        "dc2_collections: [{name: a, type: RUN, doc: '{% if x %}'}]": r"dc2_collections\[a\]\.doc is '{% if x %}'",
    }.items():
        path.write_text(text)
        with pytest.raises(ReplicaError, match=message):
            load_description(path)
    with pytest.raises(ReplicaError, match=r"no\.yml"):
        load_description(tmp_path / "no.yml")
