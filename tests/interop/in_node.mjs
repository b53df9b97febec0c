// Answers texts with transformers.js in Node.
//
//   node in_node.mjs <run> <texts.json> <answers.json> [fp32] [q8]

import { readFileSync, writeFileSync } from "node:fs";
import { AutoTokenizer, env, pipeline } from "@huggingface/transformers";
import { classify, tokenize } from "./classify.mjs";

const [run, textsFile, answersFile, ...dtypes] = process.argv.slice(2);
const texts = JSON.parse(readFileSync(textsFile, "utf-8"));
env.localModelPath = run;
env.allowRemoteModels = false;

const answers = {
  versions: `Node ${process.versions.node}, transformers.js ${env.version}`,
  ids: await tokenize(AutoTokenizer, texts),
};
for (const dtype of dtypes) {
  answers[dtype] = await classify(pipeline, dtype, texts);
}
writeFileSync(answersFile, JSON.stringify(answers));
