// parse.mjs MODULES FILE...: prints FILE:LINE:COLUMN of each place that PowerShell's grammar does not know; exit status 1 if
// there is one. With --calls before MODULES: each command (`& netsh.exe interface portproxy add` with its words) and each
// call of a .NET type, one a line.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const calls = process.argv[2] === '--calls';
const [modules, ...files] = process.argv.slice(calls ? 3 : 2);
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
  const name = (node) => {
    if (node.type === 'command') {
      const words = node.text.split(/\s+/);
      const of = { '&': 2, 'netsh.exe': 4, 'wsl.exe': 2 };
      console.log(words[0] === '&' ? words.slice(0, 1 + (of[words[1]] ?? 1)).join(' ') : words[0]);
    } else if (node.type === 'invokation_expression' && node.child(0).type === 'type_literal') {
      console.log(node.text.split('(')[0]);
    }
    node.children.forEach(name);
  };
  const root = parser.parse(readFileSync(file, 'utf8')).rootNode;
  look(root);
  if (calls) name(root);
}
process.exit(wrong ? 1 : 0);
