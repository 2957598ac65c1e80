"""The images that conformance specs run, made here under names of our own (KUBE_TEST_REPO_LIST maps to them).

agnhost and sample-apiserver are Kubernetes' own programs; the rest is Debian with the tools that specs call, nginx
among them. What a spec finds inside is what it looks for: files, users and programs by the paths it uses.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tools.filelayers import files

from loft.embedded import images, layers, oci
from loft.embedded.binaries import Progress
from loft.embedded.layers import sha
from loft.embedded.layout import Layout
from loft.embedded.oci import ImageConfig

from . import programs

REGISTRY = "loft.sh/e2e"
_VALID = timedelta(days=3650)
REPOSITORIES = (
    "promoterE2eRegistry",
    "buildImageRegistry",
    "gcEtcdRegistry",
    "gcRegistry",
    "sigStorageRegistry",
    "dockerLibraryRegistry",
    "cloudProviderGcpRegistry",
)
_PACKAGES = (
    "busybox",
    "bash",
    "bind9-dnsutils",
    "curl",
    "iproute2",
    "iputils-ping",
    "netcat-openbsd",
    "nginx-light",
    "procps",
)
_APPLETS = ("httpd", "nslookup", "telnet", "traceroute", "vi", "wget", "usleep")
_OTHERS = "for name in $(busybox --list); do which $name || ln -s /bin/busybox /usr/local/bin/$name; done >/dev/null"
_SITE = "server { listen 80 default_server; root /usr/share/nginx/html; }"
_HOOKS = (
    "mkdir -p $1/etc/nginx/conf.d $1/usr/share/nginx/html $1/var/lib/nginx $1/uploads",
    "rm -f $1/etc/nginx/sites-enabled/*",
    f"echo '{_SITE}' > $1/etc/nginx/conf.d/default.conf",
    "echo 'Welcome to nginx!' > $1/usr/share/nginx/html/index.html",
    "chroot $1 useradd -u 1000 -M user-defined-in-image",
    "chroot $1 groupadd -g 50000 group-defined-in-image",
    "chroot $1 usermod -aG group-defined-in-image user-defined-in-image",
    *(f"ln -sf /bin/busybox $1/usr/local/bin/{name}" for name in _APPLETS),
    f"chroot $1 sh -c '{_OTHERS}'",
    "ln -sf /sbin/sysctl $1/bin/sysctl",
)


def registry_list() -> str:
    """Return the content of KUBE_TEST_REPO_LIST. A private and an invalid registry stay what their names say."""
    return json.dumps(dict.fromkeys(REPOSITORIES, REGISTRY))


def _system(progress: Progress) -> Path:
    key = sha("e2e-4", layers.DEBIAN_SUITE, *_PACKAGES, *_HOOKS)
    return layers.cached("e2e", key, lambda path: layers.debian(path, _PACKAGES, progress, _HOOKS))


def _files(name: str, content: dict[str, bytes | Path], mode: int = 0o644) -> Path:
    return files(f"e2e-{name}", programs.digest(), content, mode)


def _debian(progress: Progress) -> list[Path]:
    """Return the layers of the base system with a shell as specs know it."""
    shell = Path(__file__).parent / "shell.sh"
    return [_system(progress), _files("shell", {"usr/bin/sh": shell.read_bytes()}, 0o755)]


def _agnhost(progress: Progress) -> list[Path]:
    program = programs.program("agnhost")
    return [*_debian(progress), _files("agnhost", {"agnhost": program, "agnhost-2": program}, 0o755), _identity()]


def _identity() -> Path:
    """Return a layer with the certificate and key that agnhost serves TLS with; nobody verifies it."""

    def make(path: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + _VALID)
        certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        content: dict[str, bytes | Path] = {"localhost.crt": certificate, "localhost.key": private}
        oci.layer([oci.file(name, 0o644) for name in content], content, path)

    return layers.cached("e2e-identity", sha("e2e-identity-1"), make)


def _demo(progress: Progress, name: str) -> list[Path]:
    page = json.dumps({"image": f"{name}.jpg"}).encode()
    return [*_agnhost(progress), _files(name, {"data.json": page, f"{name}.jpg": b"\xff\xd8\xff\xd9"})]


def _made(progress: Progress) -> dict[str, tuple[list[Path], ImageConfig]]:
    agnhost = ImageConfig(entrypoint=("/agnhost",), command=("pause",))
    nginx = ImageConfig(command=("nginx", "-g", "daemon off;"))
    api = _files("sample-apiserver", {"kube-sample-apiserver": programs.program("sample-apiserver")}, 0o755)
    system = _debian(progress)
    return {
        "agnhost:2.63.0": (_agnhost(progress), agnhost),
        "agnhost:2.55": (_agnhost(progress), agnhost),
        "busybox:1.37.0-1": (system, ImageConfig(command=("sh",))),
        "glibc-dns-testing:2.0.0": (system, ImageConfig(command=("sh",))),
        "nginx:1.15-4": (system, nginx),
        "nginx:1.27-0": (system, nginx),
        "kitten:1.8": (_demo(progress, "kitten"), ImageConfig(entrypoint=("/agnhost",), command=("test-webserver",))),
        "nautilus:1.8": (
            _demo(progress, "nautilus"),
            ImageConfig(entrypoint=("/agnhost",), command=("test-webserver",)),
        ),
        "nonroot:1.5": (_agnhost(progress), ImageConfig(entrypoint=("/agnhost",), command=("pause",), user="1234")),
        "sample-apiserver:1.29.2": ([*system, api], ImageConfig(entrypoint=("/kube-sample-apiserver",))),
        "nonewprivs:1.4": (
            [*system, _files("nnp", {"usr/local/bin/nnp": programs.program("nnp")}, 0o4755)],
            ImageConfig(command=("nnp",)),
        ),
        "pause:3.10.2": ([layers.binary("pause", "/pause")], ImageConfig(entrypoint=("/pause",), user="65535")),
        "etcd:3.6.8-0": (
            [*system, layers.binary("kubernetes", "/usr/local/bin/kubernetes", ("etcd",))],
            ImageConfig(command=("/usr/local/bin/etcd",)),
        ),
    }


def ensure(layout: Layout, progress: Progress) -> None:
    """Build the images and import them into a running cluster. Raises: ImageError."""
    built = []
    for reference, (parts, config) in _made(progress).items():
        name = f"{REGISTRY}/{reference}"
        key = sha(name, *[part.name for part in parts], repr(config))
        archive = programs.folder() / f"image-{reference.replace(':', '-')}-{key}.tar"
        if not archive.exists():
            progress(f"building image {name}")
            oci.write_image(archive, name, parts, config)
            for old in programs.folder().glob(f"image-{reference.replace(':', '-')}-*.tar"):
                if old != archive:
                    old.unlink()
        built.append(images.Built(name, archive))
    images.import_images(layout, built, progress)
