"""The rules of RFC 9110 and RFC 6265 that more than one module reads or writes by.

The law: every rule is written once, cites its section, and is linear in its input. The regular
expressions hold it with possessive quantifiers (`*+`): a match that fails is not retried from
every shorter prefix, so 64 KB of `"` cost what 64 KB of anything else do.

Field values arrive as latin-1 text, one character a byte, which is why obs-text is `\\x80-\\xff`.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from functools import cache

# RFC 9110 section 5.6.2, tchar. The hyphen stands last because both users put it in a class.
TCHAR = r"!#$%&'*+.^_`|~0-9A-Za-z-"

# RFC 9110 section 5.6.4. Any octet may follow the backslash: recipients meet worse than obs-text.
QUOTED_STRING = r'"(?:[^"\\]|\\.)*+"'

# RFC 9110 section 8.8.3: etagc is %x21 / %x23-7E / obs-text. There is no escape in it.
ETAGC = r"\x21\x23-\x7e\x80-\xff"
ENTITY_TAG = rf'(W/)?"([{ETAGC}]*+)"'

# RFC 5234 appendix B.1, CTL: none of these may stand in a field value (RFC 9110 section 5.5).
CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# RFC 6265 section 4.1.1 says cookie-name is a token; the colon is what `http.cookies`, and so
# every Python server, has always let through, in names and in unquoted values.
COOKIE_WORD = re.compile(rf"[:{TCHAR}]+")

_OPTION = re.compile(
    rf';[ \t]*+(?:([^=;"\s]++)[ \t]*+=[ \t]*+(?:({QUOTED_STRING})|"(.*+)|([^;]*+)))?',
    re.DOTALL,
)
_QUOTED_PAIR = re.compile(r'\\(["\\])')


def parse_options_header(value: str) -> tuple[str, dict[str, str]]:
    r"""Split `text/plain; charset="utf-8"` into its main value and its parameters.

    Reads Content-Type and Content-Disposition (RFC 9110 section 5.6.6, RFC 6266). The main value
    and the names come back in lower case; of a repeated name the last one counts; what is no
    parameter is passed over.

    Only `\"` and `\\` are unescaped: browsers write backslashes in file names bare (WHATWG
    multipart/form-data encoding), so the letter after one is not ours to eat. For the same reason
    a quoted string that never ends, such as `"C:\"`, goes on to the end of the header.

    Args:
        value: the field value.

    Returns:
        The main value and a dict of the parameters. Never raises.
    """
    main, semicolon, _ = value.partition(";")
    options: dict[str, str] = {}
    if semicolon:
        for name, quoted, unterminated, bare in _OPTION.findall(value, len(main)):
            if quoted:
                options[name.lower()] = _QUOTED_PAIR.sub(r"\1", quoted[1:-1])
            elif name:
                options[name.lower()] = unterminated.removesuffix('"') or bare.strip()
    return main.strip().lower(), options


# RFC 9110 section 5.6.7. Dates are spelled in English whatever the locale, so not by strftime.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATE_FORMS = (
    # IMF-fixdate, the one form to send: Sun, 06 Nov 1994 08:49:37 GMT
    r"[A-Za-z]{3}, (?P<day>\d\d) (?P<month>[A-Za-z]{3}) (?P<year>\d{4}) TIME GMT",
    # rfc850-date: Sunday, 06-Nov-94 08:49:37 GMT
    r"[A-Za-z]{6,9}, (?P<day>\d\d)-(?P<month>[A-Za-z]{3})-(?P<year>\d\d) TIME GMT",
    # asctime-date: Sun Nov  6 08:49:37 1994
    r"[A-Za-z]{3} (?P<month>[A-Za-z]{3}) (?P<day>[ \d]\d) TIME (?P<year>\d{4})",
)


@cache  # when it is first needed: 0.6 ms of an app's import
def _date_patterns() -> tuple[re.Pattern[str], ...]:
    forms = (form.replace(" TIME ", f" {_TIME} ") for form in _DATE_FORMS)
    return tuple(re.compile(form, re.ASCII) for form in forms)


def parse_http_date(value: str) -> datetime | None:
    """Read an HTTP date in any of its three forms (RFC 9110 section 5.6.7).

    The name of the weekday is not checked: a wrong one leaves no doubt about the moment.

    Args:
        value: the field value.

    Returns:
        The moment, in UTC, or None for what is no date: such a field is to be ignored
        (sections 13.1.3 and 13.1.4). Never raises.
    """
    value = value.strip()
    for form in _date_patterns():
        if found := form.fullmatch(value):
            break
    else:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        # Section 5.6.7: not more than 50 years ahead, so one of the 100 years that end there.
        earliest = datetime.now(UTC).year - 49
        year = earliest + (year - earliest) % 100
    second = int(found["second"])
    try:
        moment = datetime(
            year,
            _MONTH_NUMBERS[found["month"].lower()],
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            # The grammar has leap seconds, datetime has not: 60 is the second after 59.
            59 if second == 60 else second,
            tzinfo=UTC,
        )
        return moment + timedelta(seconds=second == 60)
    except (KeyError, ValueError, OverflowError):
        return None


def epoch_seconds(moment: datetime | float) -> int:
    """Give a moment in whole seconds since 1970, the resolution of an HTTP date.

    Args:
        moment: a datetime that knows its time zone, or seconds since 1970, as in `st_mtime`.

    Raises:
        ValueError: for a datetime without a time zone, which could be any of 24 moments.
    """
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(
                f"Expected a datetime with a time zone, got {moment!r}. "
                "Give it one: datetime.now(timezone.utc), or moment.astimezone() for local time."
            )
        # Cut before it is a float: that rounds microseconds up to a second from the year 3059 on.
        moment = moment.replace(microsecond=0).timestamp()
    return math.floor(moment)


def format_http_date(moment: datetime | float) -> str:
    """Write a moment as an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).

    Args:
        moment: a datetime that knows its time zone, or seconds since 1970.

    Raises:
        ValueError: for a datetime without a time zone, or a year beyond 9999.
    """
    at = datetime.fromtimestamp(epoch_seconds(moment), UTC)
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} "
        f"{at.hour:02}:{at.minute:02}:{at.second:02} GMT"
    )
