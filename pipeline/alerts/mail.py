"""Mail: one message to all recipients, by the server that ``FLAGPOST_SMTP_URL`` names."""

import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime, localtime
from urllib.parse import unquote, urlsplit

import aiosmtplib

from pipeline.alerts.notice import Notice, NoticeEvent
from pipeline.printable import printable

PORTS = {"smtp": 587, "smtps": 465}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""A server on this machine need not encrypt."""


class Mail:
    """A server and who gets mail through it."""

    REFUSED = aiosmtplib.SMTPException
    """What a server's refusal, or a wait that is too long, is raised as."""

    def __init__(
        self, url: str, to: Sequence[str], sender: str | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """``url``: ``smtp://user:password@host:587``, encrypted by STARTTLS, or ``smtps://…``, encrypted from the
        start. ``sender``: None: the user if that is an address, else the first recipient. ``tls``: None: the
        certificate has to be of one of the system's authorities."""
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._port = parts.port or PORTS[parts.scheme]
        self._encrypted = parts.scheme == "smtps"
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._to = tuple(to)
        self._from = sender or (self._user if self._user and "@" in self._user else self._to[0])
        self._tls = tls

    async def send(self, notice: Notice, timeout_seconds: float) -> None:
        """Raises OSError and ``REFUSED``; also where a single recipient is refused."""
        refused, _ = await aiosmtplib.send(
            self.message(notice),
            sender=self._from,
            recipients=list(self._to),
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            timeout=timeout_seconds,
            use_tls=self._encrypted,
            # True: no password and no word goes over the wire before STARTTLS; None: if the server offers it.
            start_tls=False if self._encrypted else (None if self._host in LOOPBACK else True),
            tls_context=self._tls,
        )
        if refused:
            raise aiosmtplib.SMTPException(f"refused for {', '.join(sorted(refused))}")

    def message(self, notice: Notice) -> EmailMessage:
        """The mails of one alert are one thread."""
        thread = f"<alert-{notice.alert_id}@flagpost.invalid>"
        message = EmailMessage()
        message["From"] = self._from
        message["To"] = ", ".join(self._to)
        message["Subject"] = printable(f"[Flagpost] {notice.title}", 200)
        message["Date"] = format_datetime(localtime())
        first = notice.event is NoticeEvent.RAISED
        message["Message-ID"] = thread if first else f"<delivery-{notice.delivery}-{notice.alert_id}@flagpost.invalid>"
        if not first:
            message["References"] = message["In-Reply-To"] = thread
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(notice.text)
        return message
