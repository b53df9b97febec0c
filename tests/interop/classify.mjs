// What Node and the page do alike with transformers.js.

/** Returns the token ids of each text; a long one is cut. */
export async function tokenize(AutoTokenizer, texts) {
  const tokenizer = await AutoTokenizer.from_pretrained("hf");
  return texts.map((text) => tokenizer(text, { truncation: true, return_tensor: false }).input_ids);
}

/**
 * Classifies texts one by one.
 *
 * @param {Function} pipeline from transformers.js, whose `env` says where the folder lies.
 * @param {string} dtype "fp32" (onnx/model.onnx) or "q8" (onnx/model_quantized.onnx).
 * @param {string[]} texts of any length.
 * @returns of each text {probabilities, asIs}, both {label: number}. `asIs` is the pipeline's answer; it differs from
 *   `probabilities` for texts that are too long.
 */
export async function classify(pipeline, dtype, texts) {
  const classifier = await pipeline("text-classification", "hf", { dtype });
  const answers = [];
  for (const text of texts) {
    const scores = await classifier(text, { top_k: null });
    const asIs = Object.fromEntries(scores.map(({ label, score }) => [label, score]));
    const probabilities = isLong(classifier.tokenizer, text) ? await classifyLong(classifier, text) : asIs;
    answers.push({ probabilities, asIs });
  }
  return answers;
}

function isLong(tokenizer, text) {
  return tokenizer.encode(text).length > tokenizer.model_max_length;
}

// transformers.js cuts off whatever is too much, the closing [SEP] included; training keeps it.
async function classifyLong({ tokenizer, model }, text) {
  const inputs = tokenizer(text, { truncation: true });
  inputs.input_ids.data[inputs.input_ids.size - 1] = BigInt(tokenizer.sep_token_id);
  const { logits } = await model(inputs);
  const powers = Array.from(logits.data, Math.exp); // logits of a classifier are small
  const sum = powers.reduce((total, power) => total + power);
  return Object.fromEntries(powers.map((power, number) => [model.config.id2label[number], power / sum]));
}
