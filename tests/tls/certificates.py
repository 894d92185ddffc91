"""Certificates for tests, made by the openssl program: an authority, servers and clients."""
import pathlib
import subprocess


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")


class Authority:
    """Writes NAME.pem and NAME.key into `folder` for each certificate it issues; itself is ca.pem."""

    def __init__(self, folder: pathlib.Path, name: str = "ca"):
        self.folder = folder
        self.name = name
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.pem"), "-subj", f"/CN={name}",
            "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def path(self, name: str) -> str:
        return str(self.folder / name)

    @property
    def certificate(self) -> str:
        return self.path(f"{self.name}.pem")

    def issue(self, name: str, subject: str, alt_names: str = "", key: str = "ec") -> tuple[str, str]:
        kind = {"ec": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), "rsa": ("rsa:2048",)}[key]
        run("openssl", "req", "-newkey", *kind, "-nodes", "-keyout", self.path(f"{name}.key"),
            "-out", self.path(f"{name}.csr"), "-subj", subject)
        extensions = "extendedKeyUsage=serverAuth,clientAuth\n"
        if alt_names:
            extensions += f"subjectAltName={alt_names}\n"
        pathlib.Path(self.path(f"{name}.ext")).write_text(extensions)
        run("openssl", "x509", "-req", "-in", self.path(f"{name}.csr"), "-CA", self.certificate,
            "-CAkey", self.path(f"{self.name}.key"), "-CAcreateserial", "-days", "2",
            "-out", self.path(f"{name}.pem"), "-extfile", self.path(f"{name}.ext"))
        return self.path(f"{name}.pem"), self.path(f"{name}.key")

    def issue_server(self, name: str = "server", key: str = "ec") -> tuple[str, str]:
        return self.issue(name, "/CN=localhost", "DNS:localhost,IP:127.0.0.1", key)
