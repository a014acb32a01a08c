"""Settings from environment variables and secret files, checked at the start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSecretError

from face_messages.message import TOPIC
from face_messages.mqtt.proxy import ProxyError
from face_messages.mqtt.url import BrokerUrl, TlsFiles
from face_messages.outbox.writer import WhenFull

SECRETS = Path("/run/secrets")

MIB = 1024 * 1024


class SettingsError(ValueError):
    """Settings the program cannot start with: a line for each, naming the variable and the remedy."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def understood_by(parse: Callable[[str], object]) -> AfterValidator:
    """Refuses a secret that `parse` does not understand, and otherwise leaves it as it is."""

    def check(text: SecretStr) -> SecretStr:
        parse(text.get_secret_value())
        return text

    return AfterValidator(check)


def _check_topic(text: str) -> str:
    wrong = len(text) > 512 or not text.isprintable() or any(c in text for c in "+#$")
    if not text or wrong or text.startswith("/") or text.endswith("/"):
        raise ValueError("must be a topic such as facedetection_topic, without + # $ and not ending in a slash")
    return text


#: An MQTT URL. Secret as a whole, since it may hold a password.
MqttUrl = Annotated[SecretStr, understood_by(BrokerUrl.parse)]
#: One or several, with commas between.
MqttUrls = Annotated[SecretStr, understood_by(BrokerUrl.parse_all)]
Topic = Annotated[str, AfterValidator(_check_topic)]
#: A name that is safe in a topic, a client id, a URL and an object key alike.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


@dataclass(frozen=True, slots=True)
class Listed:
    """A setting as `--help` and the docs show it."""

    variable: str
    default: str
    secret: bool
    description: str

    @classmethod
    def of(cls, name: str, field: FieldInfo) -> Self:
        default = "required" if field.is_required() else field.default
        default = default.value if isinstance(default, Enum) else default
        default = default.get_secret_value() if isinstance(default, SecretStr) else default
        default = str(default).lower() if isinstance(default, bool) else default
        secret = SecretStr in (field.annotation, *get_args(field.annotation))
        return cls(name.upper(), "" if default is None else str(default), secret, field.description or "")


class ProgramSettings(BaseSettings):
    """What every program can be told."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,  # compose passes on an unset variable as an empty one
        extra="ignore",
        hide_input_in_errors=True,
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least severe messages that are logged"
    )
    log_format: Literal["text", "json"] = Field("text", description="text for people, json for log collectors")
    metrics_host: str = Field("127.0.0.1", description="address on which /metrics and /healthz are served")
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics and /healthz; 0 = off")

    @classmethod
    def load(cls) -> Self:
        """From the environment, or else from files in /run/secrets. SettingsError: something is missing or wrong."""
        try:
            settings = cls(_secrets_dir=SECRETS if SECRETS.is_dir() else None)
        except ValidationError as error:
            raise SettingsError([cls._explain(tuple(e["loc"]), e["type"], e["msg"]) for e in error.errors()]) from None
        except UnreadableSecretError as error:
            # Its cause may show what is in the file.
            why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else "it is no UTF-8 text"
            raise SettingsError([f"{SECRETS}: {error}: {why}; mend the file or give access to it"]) from None
        if contradictions := settings.contradictions():
            raise SettingsError(contradictions)
        return settings

    def contradictions(self) -> list[str]:
        """A line for each pair of settings that do not go together."""
        return []

    @classmethod
    def _explain(cls, loc: tuple[int | str, ...], kind: str, message: str) -> str:
        name = str(loc[0])
        field = cls.model_fields[name]
        about = f"{name.upper()} is {field.description}"
        if kind == "missing":
            return f"{name.upper()}: is not set. {about}"
        message = message.removeprefix("Value error, ").removeprefix("Input ")
        if kind == "string_pattern_mismatch":
            message = "may have up to 63 letters, digits, dots, dashes and underscores; a letter or digit comes first"
        return f"{name.upper()}: {message[:1].lower()}{message[1:]}. {about}"

    @classmethod
    def listed(cls) -> list[Listed]:
        """All settings, in the order in which people should read about them: the program's own before the common."""
        own = [name for name in cls.__annotations__ if name in cls.model_fields]
        inherited = [name for name in cls.model_fields if name not in own]
        return [Listed.of(name, cls.model_fields[name]) for name in (*own, *inherited)]


class MqttSettings(ProgramSettings):
    mqtt_topic: Topic = Field(TOPIC, description="topic of the faces; what is published below it counts too")


class OutboxSettings(ProgramSettings):
    outbox_path: Path = Field(Path("/var/lib/facedetection/outbox.db"), description="the outbox, an SQLite file")
    outbox_max_bytes: int = Field(
        1024 * MIB, ge=MIB, description="what the outbox may take up on disk, in bytes; 1 MiB at least"
    )
    outbox_when_full: WhenFull = Field(
        WhenFull.REJECT_NEW, description="what gives way then: reject-new waits, overwrite-oldest drops and counts"
    )


def broker_url(setting: SecretStr) -> BrokerUrl:
    return BrokerUrl.parse(setting.get_secret_value())


def broker_urls(setting: SecretStr) -> tuple[BrokerUrl, ...]:
    return BrokerUrl.parse_all(setting.get_secret_value())


def proxy_contradictions(urls: SecretStr) -> list[str]:
    """What is wrong with the proxy through which these brokers would be reached."""
    lines: list[str] = []
    for url in broker_urls(urls):
        try:
            url.proxy()
        except ProxyError as error:
            lines.append(str(error))
    return sorted(set(lines))


def tls_contradictions(urls: Sequence[BrokerUrl], files: TlsFiles, prefix: str, *, url: str | None = None) -> list[str]:
    """What does not go together in a broker's URL and its `…_FILE` trio, whose variables begin with `prefix`.

    `url` is the URL's variable, where it is called otherwise.
    """
    given = {f"{prefix}CA_FILE": files.ca, f"{prefix}CERT_FILE": files.cert, f"{prefix}KEY_FILE": files.key}
    lines = []
    if any(given.values()) and not all(each.tls for each in urls):
        named = ", ".join(name for name, path in given.items() if path)
        scheme = list(urls[0].PORTS)[1]
        lines.append(f"{named}: need TLS; make {url or prefix + 'URL'} begin with {scheme}://, or leave the files out")
    if (files.cert is None) != (files.key is None):
        lines.append(f"{prefix}CERT_FILE, {prefix}KEY_FILE: belong together; set both or neither")
    for name, path in given.items():
        if path is not None:
            try:
                with path.open("rb"):
                    pass
            except OSError as error:
                lines.append(f"{name}: {path} cannot be read ({error.strerror}); give the path of a PEM file")
    return lines
