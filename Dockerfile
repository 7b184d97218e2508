# The image of everything that runs: Prefect's server, the flows' process, and `genesis-etl` by hand.
# A tag can be moved by whoever owns it: to pin the very bytes, put the digest that your registry shows behind it.
FROM python:3.11.14-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/genesis-etl
ENV PATH=/opt/genesis-etl/bin:$PATH

# In the versions of requirements.txt; what only tests need stays out.
WORKDIR /src
COPY pyproject.toml requirements.txt README.md ./
COPY genesis_etl genesis_etl
RUN pip install --constraint requirements.txt ".[flows]"


FROM python:3.11.14-slim-bookworm

ENV PATH=/opt/genesis-etl/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_RUNNER_SERVER_ENABLE=true \
    GENESIS_ETL_LAKE=/data/lake \
    GENESIS_ETL_PAGE=/data/page.html

# A user without a name on the host; an empty volume takes over the owner of the folder that it hides.
RUN groupadd --gid 10001 genesis \
    && useradd --uid 10001 --gid genesis --no-create-home --shell /usr/sbin/nologin genesis \
    && install --directory --owner=genesis --group=genesis /data
COPY --from=build /opt/genesis-etl /opt/genesis-etl
# The flows are installed nowhere: they run from here.
WORKDIR /srv/genesis-etl
COPY prefect.yaml ./
COPY flows flows

USER 10001:10001
VOLUME /data

# Prefect's runner answers while it still asks the server for work.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=4 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=5)"]
CMD ["python", "flows/serve.py"]
