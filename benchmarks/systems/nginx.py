"""nginx returning a constant: the ceiling of one core behind this client."""

from __future__ import annotations

from benchmarks import wire
from benchmarks.items import Item
from benchmarks.systems import Launch, Place, System

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{{"prediction":[0]}}'; }}
  }}
}}
"""


def _launch(item: Item, place: Place) -> Launch:
    assert place.nginx is not None
    config = place.folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=place.folder, port=place.port), encoding="utf-8")
    return Launch((place.nginx, "-c", str(config), "-e", str(place.folder / "error.log")), place.folder)


NGINX = System("nginx, constant answer", None, {"w1": wire.constant("/")}, _launch)
