"""Text that may be shown or stored: without the credentials that URLs, settings and error texts carry."""

from __future__ import annotations

import logging
import re

MARK = "***"

_HARMLESS = re.compile(
    r"(bbox|bidx|collections?|crs|datetime|format|height|ids?|layers?|limit|page|service|srs|version|width|year)"
)
"""Parameters of queries whose values are told; what others mean is not known, so theirs are not."""

_PLAIN = re.compile(r"[\w.,:+-]{0,80}")

_SIGNING = re.compile(
    r"x-(amz|goog|oss|ms)-.*|.*(access[_-]?key|token|signature|secret|passw|credential|api[_-]?key|accessid).*|"
    r"(subscription-)?key|(key-pair|client|session)[_-]?id|auth(orization)?|jwt|pwd|policy|expires|hmac|hdne?[at]s?|"
    r"user(name|pwd)?|sig|se|sp|sv|sr|ss|srt|st|spr|sip|skoid|sktid|skt|ske|sks|skv|sdd",
    re.IGNORECASE,
)
"""Parameters that sign a request: S3, Google, Azure (shared access), CloudFront, Akamai, tokens and keys."""

_URL = re.compile(
    r"(://|https?:/(?!/)|%(?:25){0,4}3A%(?:25){0,4}2F%(?:25){0,4}2F)(?=([^\s\"<>]{1,4000}))", re.IGNORECASE
)
_PORT = re.compile(r"(?:[^:]*|\[.*\])(?::\d*)?['),.;:]*")
_PARAMETER = re.compile(r"([?&#;])([^\s=&?#;\"<>/]*)(=?)([^&\s\"<>]*)")
_BARE = re.compile(r"(://[^\s\"<>?]*\?)([^\s\"<>=&]+)(?=[&\s\"<>]|$)")
_NESTED = re.compile(
    r"(%(?:25)*(?:3F|26|23|3B))([^\s=&?#;\"<>/%]+)(%(?:25)*3D)((?:(?!%(?:25)*26)[^&\s\"<>])*)", re.IGNORECASE
)
_SETTING = re.compile(
    r"\b([\w-]{0,40}(?:passw(?:or)?d|secret\w*|token|userpwd|api[_-]?key|access_?key\w*|signature)(?:\s*=|['\"]\s*:)\s*)"
    r"('[^']*'|\"[^\"]*\"|[^\s&,;]+)",
    re.IGNORECASE,
)
_HEADER = re.compile(r"(authorization['\"]?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)
_ELEMENT = re.compile(
    r"(<\w*(?:AccessKeyId|Signature\w*|StringToSign\w*|UserPwd|Token|CanonicalRequest\w*)>)[^<]*", re.IGNORECASE
)


def redact(text: str) -> str:
    """The text with `***` for every credential in it.

    Hidden are user and password of a URL, the values of its query and fragment (also of a URL within a URL) except for
    a few that are known to be harmless, and in any text what is assigned to a password, token, secret or key.
    """
    text = _HEADER.sub(rf"\1{MARK}", _ELEMENT.sub(rf"\1{MARK}", text))
    text = _BARE.sub(lambda found: found[1] + MARK + _find_tail(found[2]), _hide_users(text, f"{MARK}@"))
    text = _NESTED.sub(_hide_value, _PARAMETER.sub(_hide_value, text))
    return _SETTING.sub(rf"\1{MARK}", text)


def clean_url(url: str) -> str:
    """A URL without credentials, to be stored as a link: it opens where none are needed."""
    cleaned = identify_url(url)
    return cleaned if redact(cleaned) == cleaned else re.split(r"[?#]", cleaned)[0]


def identify_url(name: str) -> str:
    """The same text for the same resource whoever signed the request, and when; to compare, not to show.

    Args:
        name: URL or name of a GDAL dataset; a path of a file stays as it is.
    """
    if "://" not in name and not name.startswith("/vsi"):
        return name
    head, mark, query = _hide_users(name, "").partition("?")
    kept = [part for part in query.split("&") if part and not _SIGNING.fullmatch(part.partition("=")[0])]
    return f"{head}{mark}{'&'.join(kept)}" if kept else head


def hide_credentials(*loggers: str) -> None:
    """Hide the credentials in what these loggers of other libraries record from now on."""
    for name in loggers:
        logging.getLogger(name).addFilter(_redact_record)


def _redact_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), ()
    return True


def _hide_users(text: str, mark: str) -> str:
    shown, done = [], 0
    for match in _URL.finditer(text):
        if match.start() < done:
            continue
        colon, rest = match.groups()
        # Within another URL all is escaped, as often as the colon and the slashes that stand before.
        escape = "" if colon == "://" else "%" + "25" * ((len(colon) // 3 - 3) // 2)
        ends, at = (f"[/?#]|{escape}(?:2F|3F|23)", f"@|{escape}40") if escape else ("[/?#]", "@")
        authority = re.split(ends, rest, maxsplit=1, flags=re.IGNORECASE)[0]
        host = re.split(at, authority)[-1].upper().replace(f"{escape}3A" if escape else ":", ":")
        # A password may hold a slash that was not escaped: what looks like a port is then no number.
        where = list(re.finditer(at, authority if _PORT.fullmatch(host) else rest))
        if where:
            shown += [text[done : match.end()], mark]
            done = match.end() + where[-1].end()
    return "".join([*shown, text[done:]])


def _hide_value(match: re.Match[str]) -> str:
    mark, name, equals, value = match.groups()
    if not equals:
        # A question or a list in a sentence is no query.
        return match[0]
    if _HARMLESS.fullmatch(name.lower()) and _PLAIN.fullmatch(value):
        return match[0]
    return f"{mark}{name}{equals}{MARK}{_find_tail(value)}" if value else match[0]


def _find_tail(value: str) -> str:
    # What closes a sentence or a quotation is no part of the value.
    return value[len(value.rstrip("'\")]},.;:")) :] if len(value) > 3 else ""
