"""The playbooks from any folder, with an inventory of the user's own, without the project's ansible.cfg."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from kit import PROJECT
from kit.playbooks import copied, play

pytest.importorskip("ansible")

PLAYBOOKS = sorted(PROJECT.glob("playbooks/*.yml"))


def test_a_copied_inventory_is_complete(tmp_path: Path) -> None:
    for name in ("vm", "local"):
        folder = tmp_path / name
        folder.mkdir()
        links = [path for path in copied(name, folder).rglob("*") if path.is_symlink()]
        assert not links


@pytest.mark.parametrize("name", ["vm", "local"])
def test_every_playbook_is_found_and_finds_its_roles(tmp_path: Path, name: str) -> None:
    done = play(tmp_path, "--syntax-check", "-i", copied(name, tmp_path), PROJECT / "site.yml", *PLAYBOOKS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("playbook", [PROJECT / "site.yml", *PLAYBOOKS], ids=lambda path: path.stem)
def test_each_playbook_alone(tmp_path: Path, playbook: Path) -> None:
    done = play(tmp_path, "--check", "--diff", "-i", copied("local", tmp_path), playbook)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "demo").exists()


WAYS = {
    "nobody": (None, "/repo/dc2"),
    "all": ({"all": {"vars": {"butler_repo_root": "/all"}}}, "/all"),
    "group": ({"replica": {"vars": {"butler_repo_root": "/group"}}}, "/group"),
    "group_vars": ({"group_vars/all/mine.yml": {"butler_repo_root": "/file"}}, "/file"),
    "group_vars of the group": ({"group_vars/replica.yml": {"butler_repo_root": "/file"}}, "/file"),
    "host_vars": ({"host_vars/here.yml": {"butler_repo_root": "/host"}}, "/host"),
}


@pytest.mark.parametrize(
    ("way", "extra"), [*((way, False) for way in WAYS), ("nobody", True), ("host_vars", True)]
)
def test_what_the_user_says_stands_above_the_defaults(tmp_path: Path, way: str, extra: bool) -> None:
    said, found = WAYS[way]
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    hosts: dict[str, dict[str, object]] = {"replica": {"hosts": {"here": {"ansible_connection": "local"}}}}
    for name, content in (said or {}).items():
        if name.endswith(".yml"):
            (inventory / name).parent.mkdir(parents=True, exist_ok=True)
            (inventory / name).write_text(yaml.safe_dump(content))
        else:
            hosts.setdefault(name, {}).update(content)
    (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
    show = {"ansible.builtin.debug": {"msg": "root={{ butler_repo_root }}."}}
    role = str(PROJECT / "roles/replica")
    playbook = [{"hosts": "replica", "gather_facts": False, "roles": [role], "tasks": [show]}]
    (tmp_path / "show.yml").write_text(yaml.safe_dump(playbook))
    given = ["-e", "butler_repo_root=/extra"] if extra else []
    done = play(tmp_path, "-i", inventory, "show.yml", *given)
    found = "/extra" if extra else found
    assert f"root={found}." in done.stdout, done.stdout + done.stderr


def test_the_link_to_the_plugins_leads_to_all_of_them() -> None:
    for link, folder in {
        "library": "modules",
        "module_utils": "module_utils",
        "action_plugins": "action",
    }.items():
        assert (PROJECT / "playbooks" / link).samefile(PROJECT / "plugins" / folder)
    assert (PROJECT / "playbooks/roles").samefile(PROJECT / "roles")


# fstype, opts of the user (None: not given), opts of /etc/fstab.
MOUNTS = [
    ("nfs", None, "ro,nofail,_netdev"),
    ("nfs4", "rw", "rw,nofail,_netdev"),
    ("nfs", "vers=4.1,_netdev,ro", "vers=4.1,_netdev,ro,nofail"),
    ("cifs", "nofail, ro", "nofail,ro,_netdev"),
    ("ceph", None, "ro,nofail,_netdev"),
    ("lustre", "flock", "flock,ro,nofail,_netdev"),
    ("fuse.sshfs", "allow_other", "allow_other,ro,nofail,_netdev"),
    ("none", "bind", "bind,ro,nofail"),
    ("ext4", None, "ro,nofail"),
    ("xfs", "defaults,nofail,rw", "defaults,nofail,rw"),
]
NAMES = {
    "/data/one two": r"/data/one\040two",
    "/data/a#b": r"/data/a\043b",
    "/data/a\\b": r"/data/a\134b",
    "/data/plain": "/data/plain",
}


def test_what_is_written_to_fstab(tmp_path: Path) -> None:
    mounts = [{"path": "/x", "src": "y", "fstype": fstype, "opts": opts} for fstype, opts, _ in MOUNTS]
    mounts += [{"path": path, "src": "y", "fstype": "ext4", "opts": ""} for path in NAMES]
    note = {
        "ansible.builtin.set_fact": {
            "noted": "{{ noted + [[__dc2_data_options | join(','), __dc2_data_fields[1]]] }}"
        },
        "loop": mounts,
        "loop_control": {"loop_var": "__dc2_data_mount"},
    }
    # A module for each mount would take most of the time.
    write = {
        "ansible.builtin.copy": {
            "content": "{{ noted | to_json }}",
            "dest": str(tmp_path / "noted.json"),
            "mode": "0644",
        }
    }
    files = {"hosts": "localhost", "gather_facts": False, "vars": {"noted": []}, "tasks": [note, write]}
    files["vars_files"] = [str(PROJECT / "roles/dc2_data/vars/main.yml")]
    (tmp_path / "show.yml").write_text(yaml.safe_dump([files]))
    done = play(tmp_path, "show.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "noted.json").read_text())
    assert [options for options, _ in found[: len(MOUNTS)]] == [wanted for _, _, wanted in MOUNTS]
    assert [name for _, name in found[len(MOUNTS) :]] == list(NAMES.values())
