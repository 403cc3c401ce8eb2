"""Where notices go: a webhook, Slack, mail; which of them the environment of this process names.

Each is sent within ``TIMEOUT_SECONDS``, or it has failed. No redirect is followed, and no proxy of the environment is
used: an address is exactly where a notice goes.
"""

import time
from collections.abc import Mapping
from typing import Protocol

import aiohttp

from pipeline.alerts.mail import Mail
from pipeline.alerts.notice import Notice
from pipeline.alerts.signature import DELIVERY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature
from pipeline.printable import printable, reason
from pipeline.redaction import redact
from pipeline.settings import Settings

TIMEOUT_SECONDS = 10.0
ANSWER_BYTES = 200
"""Read of an answer that refuses."""


class DeliveryFailed(Exception):
    """A notice did not arrive, as far as anybody knows; the message has no address and no secret in it."""

    @classmethod
    def because(cls, error: BaseException) -> "DeliveryFailed":
        """An error of a library, in words that may be stored."""
        said = reason(error)
        name = type(error).__name__
        return cls(redact(printable(name if said == name else f"{name}: {said}", 500)))


class Channel(Protocol):
    """One way to tell people."""

    name: str

    async def send(self, notice: Notice) -> None:
        """Send it once. Raises DeliveryFailed."""


class Webhook:
    """JSON by POST, signed where there is a secret."""

    name = "webhook"

    def __init__(self, url: str, secret: str | None, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._url = url
        self._secret = secret
        self._timeout_seconds = timeout_seconds

    async def send(self, notice: Notice) -> None:
        """Raises DeliveryFailed for any answer but 2xx."""
        body, now = notice.document(), int(time.time())
        headers = {DELIVERY_HEADER: notice.delivery, TIMESTAMP_HEADER: str(now)}
        if self._secret is not None:
            headers[SIGNATURE_HEADER] = signature(self._secret, now, body)
        await _post(self._url, body, headers, self._timeout_seconds)


class Slack:
    """Slack's incoming webhook, and whatever takes its form (Mattermost, Rocket.Chat)."""

    name = "slack"

    def __init__(self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds

    async def send(self, notice: Notice) -> None:
        """Raises DeliveryFailed for any answer but 2xx."""
        await _post(self._url, notice.slack(), {}, self._timeout_seconds)


class MailChannel:
    """Mail to people, through a server that this process logs in to."""

    name = "mail"

    def __init__(self, mail: Mail, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._mail = mail
        self._timeout_seconds = timeout_seconds

    async def send(self, notice: Notice) -> None:
        """Raises DeliveryFailed unless the server takes it for every recipient."""
        try:
            await self._mail.send(notice, self._timeout_seconds)
        except (OSError, Mail.REFUSED) as error:
            raise DeliveryFailed.because(error) from None


def missing(settings: Settings) -> str:
    """What the environment lacks for a channel that it names; empty: nothing."""
    if settings.alert_mail_to and settings.smtp_url is None:
        return "FLAGPOST_ALERT_MAIL_TO is set, and FLAGPOST_SMTP_URL is not: no mail is sent"
    return ""


def configured(settings: Settings) -> Mapping[str, Channel]:
    """The channels that the environment names, by their names."""
    found: list[Channel] = []
    if settings.alert_webhook is not None:
        secret = settings.alert_webhook_secret
        signed_with = None if secret is None else secret.get_secret_value()
        found.append(Webhook(settings.alert_webhook.get_secret_value(), signed_with))
    if settings.alert_slack is not None:
        found.append(Slack(settings.alert_slack.get_secret_value()))
    if settings.alert_mail_to and settings.smtp_url is not None:
        url = settings.smtp_url.get_secret_value()
        found.append(MailChannel(Mail(url, settings.alert_mail_to, settings.alert_mail_from)))
    return {channel.name: channel for channel in found}


async def _post(url: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> None:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_seconds)) as session,
            session.post(
                url,
                data=body,
                headers={**headers, "Content-Type": "application/json", "User-Agent": "flagpost"},
                allow_redirects=False,
            ) as answer,
        ):
            if 200 <= answer.status < 300:
                return
            said = (await answer.content.read(ANSWER_BYTES)).decode(errors="replace")
    except TimeoutError:
        raise DeliveryFailed(f"no answer within {timeout_seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise DeliveryFailed.because(error) from None
    why = "a redirect, which is not followed" if 300 <= answer.status < 400 else redact(printable(said)) or "no text"
    raise DeliveryFailed(f"answered {answer.status}: {why}")
