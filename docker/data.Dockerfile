# Data, on one machine and on Spark: docker build -f docker/data.Dockerfile -t REGISTRY/headwater/data:0.1.0 .
ARG PYTHON=python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1

FROM ${PYTHON} AS build
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY constraints.txt ./
COPY packages ./packages
# Spark itself comes with pyspark. Extras that a recipe needs besides: --build-arg EXTRAS=spark,s3,gs,hf,pdf,ner
ARG EXTRAS=spark,s3,gs,hf,http
RUN python -m venv /opt/venv && /opt/venv/bin/pip install packages/core packages/monitor "packages/data[$EXTRAS]"

FROM ${PYTHON}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 headwater \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin headwater \
    && mkdir -p /opt/headwater /opt/spark/work-dir \
    && printf 'from headwater.core.cli import main\n\nmain()\n' > /opt/headwater/headwater_submit.py
COPY --from=build /opt/venv /opt/venv
COPY --chmod=0555 docker/spark-entrypoint.sh /opt/entrypoint.sh
COPY --chmod=0555 docker/spark-decommission.sh /opt/decom.sh
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    SPARK_HOME=/opt/venv/lib/python3.11/site-packages/pyspark PYSPARK_PYTHON=/opt/venv/bin/python \
    PYSPARK_DRIVER_PYTHON=/opt/venv/bin/python
WORKDIR /opt/spark/work-dir
USER 10001:10001
ENTRYPOINT ["/opt/entrypoint.sh"]
