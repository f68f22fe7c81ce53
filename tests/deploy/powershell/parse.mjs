// Prints FILE:LINE:COLUMN of each place that PowerShell's grammar does not know; exit status 1 if there is one.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, ...files] = process.argv.slice(2);
const require = createRequire(pathToFileURL(modules + '/'));
const { Parser, Language } = require('web-tree-sitter');
await Parser.init();
const parser = new Parser();
parser.setLanguage(await Language.load(require.resolve('tree-sitter-powershell/tree-sitter-powershell.wasm')));
let wrong = 0;
for (const file of files) {
  const look = (node) => {
    if (node.isError || node.isMissing) {
      wrong += 1;
      console.log(`${file}:${node.startPosition.row + 1}:${node.startPosition.column + 1}`);
    } else if (node.hasError) {
      node.children.forEach(look);
    }
  };
  look(parser.parse(readFileSync(file, 'utf8')).rootNode);
}
process.exit(wrong ? 1 : 0);
