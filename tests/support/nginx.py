"""A real nginx, as dev/scripts/need.sh puts it there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dev.stack.processes import ManagedProcess, listens

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", str(_CACHE / "edge_face_detection/nginx/usr/sbin")])
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx(ManagedProcess):
    """With one `server`, which listens on `port`, and otherwise as it comes."""

    def __init__(self, folder: Path, server: str, *, port: int) -> None:
        program = shutil.which("nginx", path=_PATH)
        assert program, "there is no nginx: dev/scripts/need.sh nginx"
        folder.mkdir()
        places = " ".join(f"{name}_temp_path {folder / name};" for name in _TEMPORARY)
        conf = folder / "nginx.conf"
        conf.write_text(
            f"daemon off; master_process off; pid {folder / 'nginx.pid'}; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {places}\n{server} }}\n"
        )
        command = [program, "-p", str(folder), "-c", str(conf), "-e", "stderr"]
        super().__init__("nginx", command, log=folder / "nginx.log", ready=lambda: listens(port))
