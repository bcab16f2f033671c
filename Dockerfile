# One image for every program: `python -m chassis web services.orders` and so on choose what runs.
# OWNER=10001 lets the pods' user change the code, for development.
# Build secrets, all optional: ca (a CA bundle), pip (pip.conf), uv (uv.toml).
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS packages
WORKDIR /build
COPY requirements.lock /
# uv's part of it.
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip,target=/etc/pip.conf \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    sed -n '/^uv==/,/# via/p' /requirements.lock >/uv.lock && \
    python3 -m venv /uv && \
    /uv/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes -r /uv.lock
COPY services.lock operators.lock k8s/image/trim.sh ./
# operators.lock, for the operators' image: their kopf is not for services.
ARG LOCK=services.lock
# The links of a virtual environment lead to the interpreter of the next stage, which is the same.
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    if [ -s /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi; \
    python3 -m venv --without-pip /venv && \
    /uv/bin/uv pip install --quiet --no-cache --require-hashes --python /venv/bin/python -r ${LOCK} && \
    sh trim.sh /venv/lib/python3*/site-packages

FROM ${PYTHON} AS souk
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536
WORKDIR /app
USER 10001:10001
CMD ["python", "-m", "chassis", "--help"]
ARG OWNER=0
# Last, as only code changes from day to day.
COPY --chown=${OWNER} kong kong
COPY --chown=${OWNER} monitoring/runbooks monitoring/runbooks
COPY --chown=${OWNER} contracts contracts
COPY --chown=${OWNER} chassis chassis
COPY --chown=${OWNER} devservers devservers
COPY --chown=${OWNER} operators operators
COPY --chown=${OWNER} services services
