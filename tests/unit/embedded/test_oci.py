"""Images are deterministic and well-formed."""

import hashlib
import json
import tarfile

from loft.embedded import oci


def build(folder, name="i.tar"):
    layer = folder / "layer.tar"
    oci.layer([oci.folder("etc"), oci.file("etc/a"), oci.link("b", "etc/a")], {"etc/a": b"text"}, layer)
    target = folder / name
    oci.write_image(target, "loft.sh/x:1", [layer], oci.ImageConfig(entrypoint=("/b",), user="65532"))
    return target


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    assert build(tmp_path, "one.tar").read_bytes() == build(tmp_path, "two.tar").read_bytes()


def test_every_digest_is_true_and_the_name_is_there(tmp_path):
    with tarfile.open(build(tmp_path)) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive.getmembers() if member.isreg()}
    for name, data in files.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]
    (named,) = json.loads(files["index.json"])["manifests"]
    assert named["annotations"]["io.containerd.image.name"] == "loft.sh/x:1"
    manifest = json.loads(files["blobs/sha256/" + named["digest"].removeprefix("sha256:")])
    config = json.loads(files["blobs/sha256/" + manifest["config"]["digest"].removeprefix("sha256:")])
    assert config["rootfs"]["diff_ids"] == [item["digest"] for item in manifest["layers"]]
    assert config["config"]["User"] == "65532"


def test_a_tree_keeps_links_and_modes_and_leaves_out_what_it_is_told(tmp_path):
    root = tmp_path / "root"
    (root / "tests").mkdir(parents=True)
    (root / "tests/x").write_text("no")
    (root / "run").write_text("#!")
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("run")
    entries, content = oci.tree(root, "opt/app", skip=("tests",))
    found = {entry.name: entry for entry in entries}
    assert set(found) == {"opt/app", "opt/app/run", "opt/app/link"}
    assert found["opt/app/run"].mode & 0o111
    assert found["opt/app/link"].linkname == "run"
    assert set(content) == {"opt/app/run"}
