"""What Zenodo publishes about the files of a record: sizes and MD5."""

import json
from collections.abc import Mapping
from pathlib import Path

from catalogs.fetch.download import Client, FetchError

API = "https://zenodo.org/api/records"


def published_hashes(client: Client, record: str, part: Path, api: str = API) -> Mapping[str, str]:
    """File name to "md5:digits", as the record's page shows them too; `part` is where the answer passes through.

    Raises the errors of `Client.download`, and FetchError where the answer is no such list.
    """
    url = f"{api}/{record}"
    try:
        listed = json.loads(client.read(url, part))["files"]
        return {str(file["key"]): str(file["checksum"]) for file in listed}
    except (ValueError, KeyError, TypeError):
        raise FetchError(f"{url} is no list of files; look at https://zenodo.org/records/{record}") from None
