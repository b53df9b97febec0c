# Answers texts with a run's LiteRT files:
#   docker build -f docker/predict.Dockerfile -t sentiment-predict .
#   docker run --rm -v "$PWD/saved_models/sst2:/model:ro" sentiment-predict "a gripping film"
FROM python:3.12-slim-bookworm

RUN useradd --create-home --uid 10001 answers

COPY docker/predict-requirements.txt docker/constraints.txt /tmp/
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt -r /tmp/predict-requirements.txt

# The package without its dependencies, which are those of training.
COPY setup.cfg setup.py pyproject.toml README.md LICENSE /src/
COPY sentiment_tf /src/sentiment_tf
RUN pip install --no-cache-dir --no-deps /src

USER 10001
ENTRYPOINT ["python", "-m", "sentiment_tf.predict", "--model=/model"]
