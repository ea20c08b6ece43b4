"""The certificates that the environment names (`SSL_CERT_FILE`, `SSL_CERT_DIR`): checked, and made TLS settings."""

from __future__ import annotations

import os
import re
import ssl

from bfl_async._config import short_text
from bfl_async.errors import ConfigError


def names_certificates() -> bool:
    """Return whether the environment names certificates; see `environment_ssl_context`."""
    return bool(os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"))


def environment_ssl_context() -> ssl.SSLContext | None:
    """Return the TLS settings for the certificates that the environment names; None if it names none.

    The variables are OpenSSL's own, `SSL_CERT_FILE` and `SSL_CERT_DIR`. The HTTP library makes its settings when it is
    imported, so it misses variables that are set later, and nothing checks their values.

    It reads files: call it in a worker thread.

    Raises:
        ConfigError: A variable names no certificates that can be read. Every certificate of a server would be refused.
    """
    file, folders = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folders:
        return None
    if file and (problem := _certificate_problem(file)):
        raise ConfigError(
            f"SSL_CERT_FILE: {short_text(file)} {problem}; name a PEM file of certificates, or unset it"
        )
    if folders and not any(_has_certificates(folder) for folder in folders.split(os.pathsep)):
        raise ConfigError(
            f"SSL_CERT_DIR: {short_text(folders)} is not a folder with certificates under their hash names; "
            "run `openssl rehash` on the folder, or unset the variable"
        )
    # Reads both variables itself.
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _certificate_problem(file: str) -> str | None:
    """Return what is wrong with a file of certificates; None if it holds at least one."""
    # Reading a pipe might never end.
    if not os.path.isfile(file):
        return "is not a file" if os.path.exists(file) else "does not exist"
    store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        store.load_verify_locations(cafile=file)
    except ssl.SSLError:
        return "holds no certificates that can be read"
    except OSError as exc:
        return f"cannot be read ({exc.strerror})"
    return None if store.cert_store_stats()["x509"] else "holds no certificates"


# OpenSSL finds a certificate in a folder by the hash of its name.
_HASH_NAME = r"[0-9a-f]{8}\.[0-9]+"


def _has_certificates(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(
                re.fullmatch(_HASH_NAME, entry.name) and _certificate_problem(entry.path) is None
                for entry in entries
            )
    except OSError:
        return False
