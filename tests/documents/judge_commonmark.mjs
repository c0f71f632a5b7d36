// Says where CommonMark's reference parser sees a comment of ours as a block of its own, in the
// examples of CommonMark's specification: each with a section behind it.
import { Parser } from "commonmark";
import { tests } from "commonmark-spec";

const [section] = process.argv.slice(2);
const parser = new Parser();
const told = tests.map(({ markdown }) => {
  const text = `${markdown.replaceAll("→", "\t")}\n\n${section}`;
  const lines = [];
  for (let block = parser.parse(text).firstChild; block; block = block.next) {
    if (block.type === "html_block" && block.literal.startsWith("<!-- vespera:")) {
      lines.push(block.sourcepos[0][0]);
    }
  }
  return { text, lines };
});
console.log(JSON.stringify(told));
