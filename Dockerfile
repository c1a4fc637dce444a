FROM python:3.11-slim
COPY . /src
# torch from its own index: the build for CPUs, without gigabytes of CUDA
RUN pip install --no-cache-dir -c /src/constraints.txt torch --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir -c /src/constraints.txt '/src[raw,jxl]' \
    && rm -rf /src && mkdir /data && chmod 777 /data
ENV DEDUP_DB=/data/dedup.db
VOLUME /data
USER 1000
ENTRYPOINT ["dedup"]
CMD ["--help"]
