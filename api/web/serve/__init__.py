"""`keyturn serve`: the HTTP service for whatever is not Python.

`app` has the endpoints, `forward_auth` the one that proxies ask, `client_secret` who may use the
rest; `running` opens sockets and starts workers.
"""

FOLDER_OF_FIGURES = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names where workers leave their figures. `prometheus_client` reads it when it
is imported, so it stands apart from what imports that."""
