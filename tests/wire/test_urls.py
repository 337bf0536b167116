"""The forms of base URLs, and which hosts are private."""

from __future__ import annotations

import pytest

from modelwrap.wire.urls import host_of, is_private_host, join, normalised_base, origin, shown, without_login


@pytest.mark.parametrize(
    "pasted, base",
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("https://api.example.com", "https://api.example.com/v1"),
        ("https://api.example.com/", "https://api.example.com/v1"),
        ("https://api.example.com/v1/chat/completions", "https://api.example.com/v1"),
        ("https://api.example.com/v1/chat/completions/", "https://api.example.com/v1"),
        ("https://api.example.com/v1/completions", "https://api.example.com/v1"),
        ("https://api.example.com/v1/models", "https://api.example.com/v1"),
        ("https://api.example.com/v1/embeddings", "https://api.example.com/v1"),
        ("https://api.example.com/chat/completions", "https://api.example.com"),
        ("https://example.com/models", "https://example.com/models"),
        ("https://example.com/api/v3", "https://example.com/api/v3"),
        ("https://example.com/api/v3/chat/completions", "https://example.com/api/v3"),
        ("https://example.com/compatible-mode/v1", "https://example.com/compatible-mode/v1"),
        (
            "https://example.com/openai/deployments/x?api-version=7",
            "https://example.com/openai/deployments/x?api-version=7",
        ),
        ("https://example.com?trace=1", "https://example.com/v1?trace=1"),
        ("https://example.com/v1#usage", "https://example.com/v1"),
        ("https://example.com//v1//", "https://example.com/v1"),
        ("  HTTPS://Example.COM/V1 \n", "https://example.com/V1"),
        ("api.example.com", "https://api.example.com/v1"),
        ("//api.example.com/v1", "https://api.example.com/v1"),
        ("api.example.com:8443/v1", "https://api.example.com:8443/v1"),
        ("localhost:8000", "http://localhost:8000/v1"),
        ("localhost:8000/v1/", "http://localhost:8000/v1"),
        ("http:localhost:8000/v1/", "http://localhost:8000/v1"),
        ("http:/localhost:8000/v1", "http://localhost:8000/v1"),
        ("http:8000", "http://http:8000/v1"),
        ("gpu-box", "http://gpu-box/v1"),
        ("gpu.lan:8000", "http://gpu.lan:8000/v1"),
        ("192.168.1.7:8000", "http://192.168.1.7:8000/v1"),
        ("8.8.8.8:8000", "https://8.8.8.8:8000/v1"),
        ("[::1]:8000", "http://[::1]:8000/v1"),
        ("::1", "http://[::1]/v1"),
        ("http://[2001:db8::1]:8000/v1", "http://[2001:db8::1]:8000/v1"),
        ("https://api.perplexity.ai", "https://api.perplexity.ai"),
        ("api.deepseek.com/", "https://api.deepseek.com"),
        ("https://api.deepseek.com/v1", "https://api.deepseek.com/v1"),
    ],
)
def test_every_pasted_form_gives_the_same_base(pasted: str, base: str) -> None:
    assert normalised_base(pasted) == base


@pytest.mark.parametrize(
    "pasted, advice",
    [
        ("", "needs a host"),
        ("   ", "needs a host"),
        ("https://", "needs a host"),
        ("https:///v1", "needs a host"),
        ("https://https://example.com", "the scheme stands twice"),
        ("http//example.com/v1", "the scheme stands twice, or lacks its colon"),
        ("http://exam\0ple.com", "no host name"),
        ("http://example.com/\0", "no spaces"),
        ("ftp://example.com", "http:// or https://"),
        ("ws://example.com", "http:// or https://"),
        ("file:///tmp/socket", "http:// or https://"),
        ("my host", "no host name"),
        ("https://example.com/a b", "%20"),
        ("example.com:99999", "65535"),
        ("example.com:0", "65535"),
        ("example.com:http", "65535"),
        ("a:b:c", "several colons"),
        ("https://a..b/v1", "is no host name"),
        ("https://.a/v1", "is no host name"),
        (f"https://{'a' * 64}.com/v1", "is no host name"),
        (f"https://{'ä' * 64}.com/v1", "is no host name"),
        ("[::1", "IPv6"),
        ("[nonsense]:80", "IPv6"),
        ("[::1]8000", "IPv6"),
    ],
)
def test_what_is_no_base_url_says_what_to_write(pasted: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice.replace("[", r"\[")):
        normalised_base(pasted)


@pytest.mark.parametrize(
    "pasted",
    [
        "https://me:hunter22@example.com/v1",
        "me:hunter22@example.com",
        "https://me:hunter22?@example.com",
        "me:hunter22",
    ],
)
def test_a_password_in_a_url_is_refused_and_never_shown(pasted: str) -> None:
    with pytest.raises(ValueError, match=r"not supported|no port") as caught:
        normalised_base(pasted)

    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST",
            "gpu-box",
            "a.local",
            "a.lan",
            "a.internal",
            "svc.ns.svc.cluster.local",
            "a.localhost",
        ),
        *(
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.1.1",
            "0.0.0.0",
        ),
        *("::1", "[::1]", "fd00::1", "fe80::1", "fe80::1%eth0", "::ffff:10.0.0.1", "localhost."),
    ],
)
def test_ones_own_hosts_are_private(host: str) -> None:
    assert is_private_host(host)


@pytest.mark.parametrize(
    "host",
    [
        *("api.example.com", "local.example.com", "8.8.8.8", "172.32.0.1", "11.0.0.1", "::ffff:8.8.8.8", "notlocal.io"),
        *("2001:db8::1", "134744072", "0x08080808", "", "example.local.com"),
    ],
)
def test_other_hosts_are_not(host: str) -> None:
    assert not is_private_host(host)


def test_an_origin_holds_no_secret() -> None:
    assert origin("https://me:hunter22@example.com:8443/v1?key=hunter22") == "https://example.com:8443"
    assert origin("http://[::1]:8000/v1") == "http://[::1]:8000"
    assert host_of("https://API.example.com:8443/v1") == "api.example.com"
    assert host_of("nothing") == ""


def test_joining_keeps_the_query_behind_the_path() -> None:
    assert join("https://h/v1", "/chat/completions") == "https://h/v1/chat/completions"
    assert join("https://h/v1/", "models", {"a": "b c"}) == "https://h/v1/models?a=b%20c"
    assert join("https://h/d?v=1", "/x") == "https://h/d/x?v=1"
    assert join("https://h/d?v=1&w=2", "/x", {"v": "3"}) == "https://h/d/x?v=3&w=2"


def test_shown_hides_credentials_in_the_query() -> None:
    assert shown("https://h/v1?api_key=hunter22&version=1") == "https://h/v1?api_key=***&version=1"
    assert shown("https://h/v1") == "https://h/v1"


def test_a_login_is_taken_out_of_a_url_and_nothing_else() -> None:
    assert without_login("https://me:pass@h/v1?a=b@c") == "https://h/v1?a=b@c"
    assert without_login("//me@h/@me") == "//h/@me"
    assert without_login("https://h/#//a@b") == "https://h/#//a@b"
