"""TLS between client, scheduler and workers: distributed's own, from three files."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from distributed import Security

from msl.errors import PlanError

__all__ = ["Tls"]


@dataclass(frozen=True)
class Tls:
    """Files in PEM that say who may speak with a cluster, and prove that we may.

    Parameters
    ----------
    ca : str
        The authority that signs every certificate of this cluster, and nobody else's: whoever it
        signs for can run code on the workers.
    cert : str
        Our certificate.
    key : str, optional
        Its key; left out when the key stands in `cert` too.

    Raises
    ------
    PlanError
        When a file is missing or no certificate, or the key is not that of the certificate.
    """

    ca: str
    cert: str
    key: str | None = None

    def __post_init__(self) -> None:
        for kind, path in (("ca", self.ca), ("cert", self.cert), ("key", self.key)):
            if path is not None and not Path(path).is_file():
                raise PlanError(f"tls.{kind}: there is no file {path}")
        # A look by ssl itself; a wrong file is otherwise found when somebody connects.
        look = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            look.load_verify_locations(self.ca)
        except ssl.SSLError as error:
            raise PlanError(f"tls.ca: {self.ca} holds no certificate in PEM ({error})") from error
        try:
            # The empty password keeps OpenSSL from asking for one at the terminal.
            look.load_cert_chain(self.cert, self.key, password="")
        except (ssl.SSLError, OSError) as error:
            raise PlanError(
                f"tls.cert, tls.key: {self.cert} and {self.key or 'the key in it'} must be a "
                f"certificate and its own key, in PEM and without a password ({error})"
            ) from error

    def security(self) -> Security:
        """Return distributed's form of it; one certificate for every role that we have."""
        files: dict[str, str] = {"tls_ca_file": self.ca}
        for role in ("client", "scheduler", "worker"):
            files[f"tls_{role}_cert"] = self.cert
            files[f"tls_{role}_key"] = self.key or self.cert
        return Security(require_encryption=True, **files)
