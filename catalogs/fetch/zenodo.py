"""What Zenodo publishes about the files of a record: sizes and MD5."""

import json
from collections.abc import Mapping
from pathlib import Path

from catalogs.fetch.download import Client, FetchError, NoConnectionError

API = "https://zenodo.org/api/records"


def published_hashes(client: Client, record: str, folder: Path, api: str = API) -> Mapping[str, str]:
    """File name to "md5:digits", as the record's page shows them too; kept in `folder`, since records do not change.

    Raises the errors of `Client.download`, and FetchError where the answer is no such list.
    """
    kept, page = folder / f"zenodo_{record}.json", f"https://zenodo.org/records/{record}"
    try:
        answer = kept.read_bytes() if kept.is_file() else client.read(f"{api}/{record}", folder / f".{kept.name}")
        hashes = {str(file["key"]): str(file["checksum"]) for file in json.loads(answer)["files"]}
    except NoConnectionError as error:
        raise NoConnectionError(f"{error}; fetch the files by hand from {page} and put them into {folder}") from None
    except (ValueError, KeyError, TypeError):
        raise FetchError(f"{api}/{record} is no list of files; look at {page}") from None
    if not kept.is_file():
        kept.write_bytes(answer)
    return hashes
