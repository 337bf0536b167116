"""OpenAI's models on Azure: chat, vectors and images, with a key or with a login of Entra."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from modelwrap.capabilities import Traits
from modelwrap.config import check_transport
from modelwrap.config.credentials import SecretString, key_of_environment, mistake
from modelwrap.errors import BadRequest, ConfigError, MissingSecret
from modelwrap.models import azure_urls
from modelwrap.models.azure_login import Login, entra_credential
from modelwrap.models.call import Call
from modelwrap.models.http import HttpModel
from modelwrap.models.openai import HostedByOpenAI, OpenAI, OpenAIConfig, OpenAIModel
from modelwrap.models.openai_dall_e import ImageArgs, OpenAIDallE
from modelwrap.models.openai_embedding import OpenAIEmbedding
from modelwrap.models.sdk import SdkClientArgs
from modelwrap.runtime.auth import Credential
from modelwrap.secrets import Secret, is_sensitive
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.urls import host_of

KEY_VARIABLE = "AZURE_OPENAI_API_KEY"
TOKEN_VARIABLE = "AZURE_OPENAI_AD_TOKEN"
ENDPOINT_VARIABLE = "AZURE_OPENAI_ENDPOINT"
VERSION_VARIABLE = "OPENAI_API_VERSION"


class AzureArgs(SdkClientArgs):
    model_config = ConfigDict(extra="forbid")

    azure_endpoint: str | None = Field(
        default=None,
        min_length=1,
        description="The resource, as in `https://mine.openai.azure.com`, in any form that people paste; also written "
        f"`base_url`. Not given, `{ENDPOINT_VARIABLE}` is read.",
    )
    azure_deployment: str | None = Field(
        default=None, min_length=1, description="The name of the deployment; `model` if not given."
    )
    api_version: str | None = Field(
        default=None,
        min_length=1,
        description="The API's version. With a date, as in `2025-01-01-preview`, requests go to the deployment's own "
        f"path; with none, or `preview`, to `/openai/v1`. Not given, `{VERSION_VARIABLE}` is read for deployments.",
    )
    credential: Login | None = Field(
        default=None,
        description="Who logs in at Entra (extra `azure`): `default` tries the usual ones in turn, the others are one "
        "of them. Not given, it is `default` where there is no key.",
    )
    azure_ad_token: SecretString | None = Field(
        default=None, description=f"A token of Entra's that you have already; `{TOKEN_VARIABLE}` is read, too."
    )

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        """Know the names of Azure's, which are no client's here."""
        return data


def _no_other_arguments(schema: dict[str, Any]) -> None:
    """Say nothing beside the fields: no client takes arguments of its own here."""


class HostedByAzure(HostedByOpenAI):
    model_config = ConfigDict(json_schema_extra=_no_other_arguments)

    client_args: AzureArgs = Field(default_factory=AzureArgs, description="How the endpoint is reached.")
    transport: Literal["http", "sdk"] = Field(
        default="http", description='Nothing but `http`; OpenAI\'s own client for Azure takes `"model_type": "openai"`.'
    )
    sdk_client: str | None = Field(default=None, description="Not taken here, as there is no client.")
    preset: str | None = Field(default=None, description="Not taken here, as presets are other hosts.")

    @model_validator(mode="after")
    def _check_azure(self) -> Self:
        args = self.client_args
        if self.transport != "http":
            raise mistake('azure_openai logs in itself; for a client write "model_type": "openai"', "transport")
        if self.preset is not None:
            raise mistake("is for other hosts; azure_openai knows its own", "preset")
        if args.azure_endpoint and args.base_url:
            raise mistake("stands there twice: as azure_endpoint and as base_url", "client_args", "azure_endpoint")
        if args.credential and (self.api_key or args.azure_ad_token):
            raise mistake("says who logs in, and a key or a token does so, too", "client_args", "credential")
        return self

    def usual_url(self) -> str:
        given = self.client_args.azure_endpoint or os.environ.get(ENDPOINT_VARIABLE, "").strip()
        if not given:
            raise ConfigError(f"client_args.azure_endpoint: it is not given, nor is {ENDPOINT_VARIABLE} set")
        return given

    @property
    def place_of_url(self) -> str:
        given = [f"client_args.{name}" for name in ("azure_endpoint", "base_url") if getattr(self.client_args, name)]
        return given[0] if given else ENDPOINT_VARIABLE

    def normalised(self, url: str) -> str:
        return azure_urls.base_url(url, self.version, self.deployment)

    @property
    def deployment(self) -> str:
        return self.client_args.azure_deployment or self.model

    @property
    def version(self) -> str | None:
        args = self.client_args
        url = args.base_url or self.usual_url()
        stated = args.api_version or azure_urls.version_in(url) or args.default_query.get("api-version")
        return stated or azure_urls.usual_version(url, os.environ.get(VERSION_VARIABLE, "").strip() or None)

    @property
    def name_in_requests(self) -> str:
        """The model's name in requests: where no path says it, it is the deployment's."""
        return self.deployment if azure_urls.serves_all(self.base_url()) else self.model

    def is_at_home(self) -> bool:
        # Whoever names his endpoint in the environment has put the key beside it.
        args = self.client_args
        return azure_urls.is_azure(host_of(self.base_url())) or not (args.azure_endpoint or args.base_url)

    def traits(self, base_url: str | None = None) -> Traits:
        traits = super().traits(base_url)
        if traits.facts.model_known or traits.facts.stated:
            return traits
        # A gateway in front of Azure, or a host of several makers' models.
        there = super().traits(azure_urls.HOME)
        return there if there.facts.model_known else traits

    def endpoint(self, headers: Any) -> Endpoint:
        endpoint = super().endpoint(headers)
        version = {"api-version": self.version} if self.version else {}
        return replace(endpoint, query={**endpoint.query, **version})

    def key(self) -> Secret | None:
        """Give no key for the header of OpenAI's own host; Azure has another."""
        return None

    @property
    def says_who_asks(self) -> bool:
        """Whether a header of the config logs in, at Azure or at a gateway in front of it."""
        return any(map(is_sensitive, self.client_args.default_headers))

    def own_headers(self) -> dict[str, str | Secret]:
        """Give the header that logs in; none where a header of the config is that one, or where Entra is asked."""
        written = {name.lower() for name in self.client_args.default_headers}
        return {name: value for name, value in self._login_header().items() if name not in written}

    def _login_header(self) -> dict[str, str | Secret]:
        args = self.client_args
        if args.credential:
            return {}
        if args.azure_ad_token:
            return _bearer(args.azure_ad_token)
        if self.api_key is not None:
            return {"api-key": self.api_key} if self.api_key else {}
        if self.is_at_home() and not self.says_who_asks:
            if token := key_of_environment(TOKEN_VARIABLE):
                return _bearer(token)
            if key := key_of_environment(KEY_VARIABLE):
                return {"api-key": key}
        return {}

    def login(self) -> Credential | None:
        """Give what fetches tokens of Entra's; None where a key, a token or a header says who asks."""
        login = self.client_args.credential
        if login is None:
            if self.api_key is not None or self.says_who_asks or self.own_headers():
                return None
            if not self.is_at_home():
                raise MissingSecret(
                    f"api_key: there is no api_key, and {host_of(self.base_url())} is none of Azure's hosts: a key "
                    'from the environment never goes there, and a login only where "client_args": '
                    '{"credential": "default"} says so'
                )
        url = self.base_url()
        check_transport(url, has_key=True, allow_http=self.allow_http, where=self.place_of_url)
        return entra_credential(login or "default", azure_urls.scope(url))


def _bearer(token: Secret) -> dict[str, str | Secret]:
    return {"authorization": Secret(f"Bearer {token.reveal()}")}


class AzureModel(OpenAIModel):
    """Share what all operations have on Azure: where the deployment is, and who asks."""

    Config: ClassVar[type[HostedByOpenAI]] = HostedByAzure

    @classmethod
    def headers(cls, config: HostedByOpenAI) -> dict[str, str | Secret]:
        assert isinstance(config, HostedByAzure)
        return {**super().headers(config), **config.own_headers()}

    @classmethod
    def _at(cls, endpoint: Endpoint, config: HostedByOpenAI) -> Self:
        assert isinstance(config, HostedByAzure)
        model = cls(config.config_name, config.name_in_requests, endpoint, config.traits())
        model.configure(config)
        model.credential = config.login()
        return model

    def _request(self, wire: WireCall, call: Call, traits: Traits) -> HttpRequest:
        check_model(self, call)
        return super()._request(wire, call, traits)


def check_model(model: HttpModel, call: Call) -> None:
    """Refuse another model for one call where the deployment stands in the URL, and the body would be believed."""
    asked = call.parameters.get("model", model.model)
    if asked != model.model and "/deployments/" in model.endpoint.base_url:
        raise BadRequest(
            f"model: {asked} is another deployment, and the URL names this model's; give it a config of its own",
            sent=False,
        )


class AzureOpenAIConfig(HostedByAzure, OpenAIConfig):
    # Of two bases the second would have its way.
    model_config = HostedByAzure.model_config


class AzureOpenAI(AzureModel, OpenAI):
    """Chat with OpenAI's models on Azure, and with what else is deployed there in their format."""

    Config: ClassVar[type[HostedByOpenAI]] = AzureOpenAIConfig

    @classmethod
    def _at(cls, endpoint: Endpoint, config: HostedByOpenAI) -> Self:
        assert isinstance(config, HostedByAzure)
        model = super()._at(endpoint, config)
        # There the body names the deployment.
        model.over_responses.model = config.deployment
        model.over_responses.endpoint = azure_urls.for_responses(endpoint)
        return model


class AzureOpenAIEmbedding(AzureModel, OpenAIEmbedding):
    """Make vectors with models on Azure, of whatever `openai_embedding` takes."""


class AzureDallEConfig(HostedByAzure, ImageArgs):
    pass


class AzureOpenAIDallE(AzureModel, OpenAIDallE):
    """Make and edit images with models on Azure, of whatever `openai_dall_e` takes."""

    Config: ClassVar[type[HostedByOpenAI]] = AzureDallEConfig
