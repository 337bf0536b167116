"""Where pip would look, read as pip reads it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelwrap.errors import ConfigError
from modelwrap.local.pip_settings import DEFAULT_INDEX, pip_settings
from modelwrap.secrets import Secret


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def basic(login: str) -> Secret:
    return Secret(f"Basic {base64.b64encode(login.encode()).decode()}")


def test_without_any_settings_it_is_the_public_index() -> None:
    settings = pip_settings()

    assert settings.indexes == (DEFAULT_INDEX,)
    assert settings.find_links == ()
    assert settings.connection(DEFAULT_INDEX).verify is True


# The lowest first, as https://pip.pypa.io/en/stable/topics/configuration/ orders them.
FILES = [
    "etc/xdg/pip/pip.conf",
    "etc/pip.conf",
    "home/.pip/pip.conf",
    "home/.config/pip/pip.conf",
    "venv/pip.conf",
]


@pytest.mark.parametrize("highest", range(len(FILES)))
def test_a_later_file_goes_above_an_earlier(tmp_path: Path, highest: int) -> None:
    for name in FILES[: highest + 1]:
        write(tmp_path / name, f"[global]\nindex-url = https://{name.replace('/', '.')}/simple\n")

    settings = pip_settings()

    assert settings.indexes == (f"https://{FILES[highest].replace('/', '.')}/simple",)


def test_files_add_to_one_another_key_by_key(tmp_path: Path) -> None:
    write(tmp_path / "etc/pip.conf", "[global]\nindex-url = https://a/simple\nextra-index-url = https://b/simple\n")
    write(
        tmp_path / "home/.config/pip/pip.conf", "[global]\nextra-index-url =\n  https://c/simple\n  https://d/simple\n"
    )

    settings = pip_settings()

    assert settings.indexes == ("https://a/simple", "https://c/simple", "https://d/simple")


def test_the_section_of_install_goes_above_the_global_one_of_any_file(tmp_path: Path) -> None:
    write(tmp_path / "etc/pip.conf", "[install]\nindex-url = https://of-install/simple\n")
    write(
        tmp_path / "venv/pip.conf", "[global]\nindex-url = https://of-global/simple\n[list]\nindex-url = https://no\n"
    )

    assert pip_settings().indexes == ("https://of-install/simple",)


def test_the_environment_goes_above_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "venv/pip.conf", "[global]\nindex-url = https://file/simple\nfind-links = /in/file\n")
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")

    settings = pip_settings()

    assert settings.indexes == ("https://variable/simple",)
    assert settings.find_links == ("/in/file",)


def test_a_named_file_stands_above_the_others_and_in_place_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "home/.config/pip/pip.conf", "[global]\nfind-links = /of/user\n")
    write(tmp_path / "venv/pip.conf", "[global]\nindex-url = https://venv/simple\ncert = /of/venv\n")
    write(tmp_path / "named.conf", "[global]\nindex_url = https://named/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "named.conf"))

    settings = pip_settings()

    assert settings.indexes == ("https://named/simple",)
    assert settings.find_links == ()
    assert settings.certificates == "/of/venv"


def test_the_null_device_as_the_named_file_switches_all_files_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "etc/pip.conf", "[global]\nindex-url = https://a/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    assert pip_settings().indexes == (DEFAULT_INDEX,)


@pytest.mark.parametrize("value, indexes", [("1", 0), ("yes", 0), ("True", 0), ("0", 1), ("false", 1)])
def test_no_index_leaves_only_the_links(monkeypatch: pytest.MonkeyPatch, value: str, indexes: int) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", value)
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels https://links.example/page.html")

    settings = pip_settings()

    assert len(settings.indexes) == indexes
    assert settings.find_links == ("/wheels", "https://links.example/page.html")


def test_a_login_is_kept_apart_from_its_url_and_given_to_its_host_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:s%40cret-word@one.example:8443/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://token-without-colon@two.example/simple")

    settings = pip_settings()

    assert settings.indexes == ("https://one.example:8443/simple", "https://two.example/simple")
    assert settings.authorization("https://one.example:8443/files/a.whl") == basic("me:s@cret-word")
    assert settings.authorization("https://two.example/files/a.whl") == basic("token-without-colon:")
    assert settings.authorization("https://one.example/files/a.whl") is None
    assert settings.authorization("http://one.example:8443/files/a.whl") is None
    assert "cret-word" not in repr(settings)
    assert "token-without" not in repr(settings)


def test_of_two_logins_at_a_host_the_one_of_the_nearer_path_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://u:first@git.example/projects/1/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://u:second@git.example/projects/12/simple")

    settings = pip_settings()

    assert settings.authorization("https://git.example/projects/1/files/a.whl") == basic("u:first")
    assert settings.authorization("https://git.example/projects/12/files/a.whl") == basic("u:second")


def test_a_login_may_stand_in_netrc(home: Path) -> None:
    netrc = home / ".netrc"
    netrc.write_text("machine one.example login me password secret-word\n")
    netrc.chmod(0o600)

    settings = pip_settings()

    assert settings.authorization("https://one.example/simple") == basic("me:secret-word")
    assert settings.authorization("https://two.example/simple") is None


def test_a_broken_netrc_is_as_none(home: Path) -> None:
    (home / ".netrc").write_text("machine one.example nonsense\n")
    (home / ".netrc").chmod(0o600)

    assert pip_settings().authorization("https://one.example/simple") is None


def test_proxy_certificates_and_trusted_hosts_are_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    monkeypatch.setenv("PIP_PROXY", "user:secret-word@proxy.example:3128")
    monkeypatch.setenv("PIP_CERT", str(bundle))
    monkeypatch.setenv("PIP_TRUSTED_HOST", "own.example other.example:8443")

    settings = pip_settings()
    connection = settings.connection("https://pypi.org/simple")

    assert connection.proxy == Secret("http://user:secret-word@proxy.example:3128")
    assert connection.verify == str(bundle)
    assert settings.connection("https://own.example:1234/simple").verify is False
    assert settings.connection("https://other.example:8443/simple").verify is False
    assert settings.connection("https://other.example/simple").verify == str(bundle)
    assert "secret-word" not in repr(settings)


def test_a_proxy_of_another_kind_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_PROXY", "socks5://user:secret-word@proxy.example")

    with pytest.raises(ConfigError, match="pip's setting proxy: begins with http://") as caught:
        pip_settings()

    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    "url, secure",
    [
        ("https://pypi.org/simple", True),
        ("http://127.0.0.1:8080/simple", True),
        ("http://localhost/simple", True),
        ("http://own.example/simple", True),
        ("http://other.example/simple", False),
        ("file:///srv/simple", True),
        ("/srv/wheels", True),
    ],
)
def test_plain_http_is_taken_from_trusted_hosts_only(monkeypatch: pytest.MonkeyPatch, url: str, secure: bool) -> None:
    monkeypatch.setenv("PIP_TRUSTED_HOST", "own.example")

    assert pip_settings().is_secure(url) is secure


def test_certificates_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CERT", "/nowhere/bundle.pem")

    with pytest.raises(ConfigError, match=r"cert names /nowhere/bundle\.pem"):
        pip_settings().connection(DEFAULT_INDEX)


def test_certificates_of_other_programs_serve_where_pip_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    assert pip_settings().connection(DEFAULT_INDEX).verify == str(bundle)


@pytest.mark.parametrize("text", ["index-url = https://u:secret-word@h/simple\n", "[global]\nsecret-word alone\n"])
def test_a_broken_file_is_told_without_its_content(tmp_path: Path, text: str) -> None:
    write(tmp_path / "venv/pip.conf", text)

    with pytest.raises(ConfigError, match=r"venv/pip\.conf: pip's configuration cannot be read") as caught:
        pip_settings()

    assert "secret-word" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_user_files_follow_the_variable_of_the_desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configs"))
    write(tmp_path / "configs/pip/pip.conf", "[global]\nindex-url = https://xdg/simple\n")

    assert pip_settings().indexes == ("https://xdg/simple",)


def test_a_virtual_environments_own_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "venv/pip.conf", "[global]\nindex-url = https://venv/simple\n")
    script = (
        f"import sys; sys.prefix = {str(tmp_path / 'venv')!r}; sys.modules['pip'] = None\n"
        "from modelwrap.local.pip_settings import pip_settings; print(*pip_settings().indexes)"
    )

    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert printed.split() == ["https://venv/simple"]
