// windows.mjs MODULES SCRIPTS < TRIALS: runs scripts on a Windows that is a JSON text, and prints what became of it.
//
// An interpreter of the part of PowerShell that the scripts use, over its grammar: what it does not know ends the run. Commands
// of Windows are stand-ins below, each of which either reads that JSON text or changes it. TRIALS is a list of
//   {"windows": {...}, "steps": [{"script": "Enable-MenderGateway.ps1", "parameters": {"Mode": "Nat"}, "ends_before": 3}]}
// where that change of the step, counted from 1, fails as if the machine were switched off; "meanwhile" is what others change
// of Windows before the step, "in" the folder of the script. Printed is for each trial a list of
//   {"output": [...], "warnings": [...], "errors": [...], "error": null, "changes": 7, "windows": {...}}
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, scripts] = process.argv.slice(2);
const trials = JSON.parse(readFileSync(0, 'utf8'));
const require = createRequire(pathToFileURL(modules + '/'));
const { Parser, Language } = require('web-tree-sitter');
await Parser.init();
const parser = new Parser();
parser.setLanguage(await Language.load(require.resolve('tree-sitter-powershell/tree-sitter-powershell.wasm')));

// ---- values: null, booleans, numbers, strings, arrays, Uint8Array, Table (hash tables and objects) ---------------------------
class Table {
  constructor(entries = {}) {
    this.map = new Map();
    for (const [k, v] of Object.entries(entries)) this.set(k, v);
  }
  get(name) {
    return this.map.get(name.toLowerCase())?.[1];
  }
  has(name) {
    return this.map.has(name.toLowerCase());
  }
  set(name, value) {
    this.map.set(name.toLowerCase(), [name, value]);
  }
  entries() {
    return [...this.map.values()];
  }
}
class Failure extends Error {} // what `throw` and a command that fails raise; catch gets it
class Flow {
  constructor(kind, value) {
    this.kind = kind;
    this.value = value;
  }
}
const unknown = (what) => {
  throw new Error(`windows.mjs does not know ${what}`);
};
const same = (a, b) => a.toLowerCase() === b.toLowerCase();
const bytes = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const latin1 = (array) => Array.from(array, (b) => String.fromCharCode(b)).join('');
function asText(value) {
  if (value === null) return '';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return value.map(asText).join(' ');
  return typeof value === 'string' || typeof value === 'number'
    ? String(value)
    : unknown(`the text of ${value?.constructor?.name}`);
}
function truth(value) {
  if (Array.isArray(value)) return value.length === 1 ? truth(value[0]) : value.length > 1;
  return value !== null && value !== false && value !== 0 && value !== '';
}
const flat = (value) =>
  value === null || value === undefined ? [null] : Array.isArray(value) || value instanceof Uint8Array ? [...value] : [value];
const collapse = (list) => (list.length === 0 ? null : list.length === 1 ? list[0] : list);
const list = (value) => (value === null ? [] : Array.isArray(value) ? value : [value]);
const regex = (text, flags) => new RegExp(text.replaceAll('\\z', '(?![\\s\\S])'), flags);

class Scope {
  constructor(parent, script) {
    this.parent = parent;
    this.script = script ?? this;
    this.values = new Map();
  }
  find(name) {
    for (let s = this; s; s = s.parent) if (s.values.has(name)) return s.values.get(name);
    return undefined;
  }
}

// ---- Windows ------------------------------------------------------------------------------------------------------------------
let windows,
  step,
  exitCode = 0;
const environment = { programfiles: 'C:\\Program Files', userprofile: 'C:\\Users\\J\u00fcrgen', computername: 'GATEWAY' };
const where = 'D:\\mgw\\windows'; // the folder of the scripts
function change() {
  step.changes += 1;
  if (step.changes === step.ends_before) throw new Failure('switched off');
}
const folder = (path) => path.slice(0, path.lastIndexOf('\\'));
const exists = (path) => path in windows.files || windows.directories.includes(path);
function write(path, text) {
  if (!windows.directories.includes(folder(path)) && path !== `${environment.userprofile}\\.wslconfig`)
    throw new Failure(`no directory for ${path}`);
  change();
  windows.files[path] = text;
}
// What is not there is an error, which ends a script according to ErrorAction and to the scope's preference.
function missing(parameters, scope, what) {
  const how = parameters.get('ErrorAction') ?? scope.find('erroractionpreference') ?? 'Continue';
  if (same(how, 'Stop')) throw new Failure(what);
  if (same(how, 'Continue')) step.errors.push(what);
  return [];
}
const named = (kind, what) => (p, input, scope) => {
  const name = p.get('Name') ?? p.get('TaskName');
  if (p.has('TaskName') && p.get('TaskPath') !== '\\') unknown('a task without its path');
  return name in windows[kind] ? [new Table({ Name: name, Kind: kind })] : missing(p, scope, `no ${what} ${name}`);
};
const make = (kind) => (p) => {
  const name = p.get('Name') ?? p.get('TaskName');
  change();
  if (name in windows[kind]) throw new Failure(`${name} is there already`);
  windows[kind][name] = Object.fromEntries(p.entries().filter(([, v]) => !(v instanceof Table)));
  return [new Table({ Name: name })];
};
const remove = (kind) => (p, input) => {
  const names = p.has('TaskName') ? [p.get('TaskName')] : input.map((one) => one.get('Name'));
  for (const name of names) {
    change();
    if (!(name in windows[kind])) throw new Failure(`no ${name}`);
    delete windows[kind][name];
  }
  return [];
};
const service = (p) => windows.services[p.get('Name')] ?? unknown(`service ${p.get('Name')}`);
const one = (kind) => (p) => [new Table({ [kind]: true })];
const standIns = {
  'Get-NetFirewallRule': named('firewall', 'rule'),
  'New-NetFirewallRule': make('firewall'),
  'Remove-NetFirewallRule': remove('firewall'),
  'Get-NetFirewallHyperVRule': named('hyperv', 'rule'),
  'New-NetFirewallHyperVRule': make('hyperv'),
  'Remove-NetFirewallHyperVRule': remove('hyperv'),
  'Get-ScheduledTask': named('tasks', 'task'),
  'Register-ScheduledTask': make('tasks'),
  'Unregister-ScheduledTask': remove('tasks'),
  'Stop-ScheduledTask': () => [],
  'New-ScheduledTaskAction': (p) => [`${p.get('Execute')} ${p.get('Argument')}`],
  'New-ScheduledTaskTrigger': one('trigger'),
  'New-ScheduledTaskPrincipal': one('principal'),
  'New-ScheduledTaskSettingsSet': one('settings'),
  'New-TimeSpan': one('span'),
  'Get-Service': (p) => [new Table(service(p))],
  'Set-Service': (p) => {
    change();
    service(p).StartType = p.get('StartupType');
    return [];
  },
  'Start-Service': (p) => {
    const it = service(p);
    if (it.Status !== 'Running') change();
    if (it.StartType === 'Disabled') throw new Failure('a disabled service does not start');
    it.Status = 'Running';
    return [];
  },
  'Stop-Service': (p) => {
    const it = service(p);
    if (it.Status !== 'Stopped') change();
    it.Status = 'Stopped';
    return [];
  },
  'Test-Path': (p) => [exists(p.get('LiteralPath'))],
  'New-Item': (p) => {
    const path = p.get('Path');
    if (!windows.directories.includes(path)) {
      change();
      windows.directories.push(path);
    }
    return [path];
  },
  'Copy-Item': (p) => {
    const from = p.get('LiteralPath');
    if (folder(from) !== where) throw new Failure(`no ${from}`);
    write(p.get('Destination'), readFileSync(`${scripts}/${from.slice(where.length + 1)}`, 'latin1'));
    return [];
  },
  'Move-Item': (p) => {
    const from = p.get('LiteralPath'),
      text = windows.files[from] ?? unknown(from);
    write(p.get('Destination'), text);
    delete windows.files[from];
    return [];
  },
  'Remove-Item': (p) => {
    const path = p.get('LiteralPath');
    if (!exists(path)) throw new Failure(`no ${path}`);
    if (Object.keys(windows.files).some((f) => f.startsWith(path + '\\'))) throw new Failure(`${path} has files`);
    change();
    delete windows.files[path];
    windows.directories = windows.directories.filter((d) => d !== path);
    return [];
  },
  'Get-ChildItem': (p) => Object.keys(windows.files).filter((f) => folder(f) === p.get('LiteralPath')),
  'Get-Command': (p) => (windows.no_hyperv_firewall ? [] : [p.get(0)]),
  'Join-Path': (p) => [`${p.get(0)}\\${p.get(1)}`],
  'Get-Date': () => [new Date(windows.seconds * 1000)],
  'Start-Sleep': (p) => {
    windows.seconds += p.get('Seconds');
    return [];
  },
  'ConvertTo-Json': (p, input) => [
    JSON.stringify(Object.fromEntries((input[0] instanceof Table ? input[0] : unknown('JSON of that')).entries())),
  ],
  'ConvertFrom-Json': (p, input) => [new Table(JSON.parse(input.join('\n')))],
  'Write-Output': (p) => [p.get(0)],
  'Write-Warning': (p) => {
    step.warnings.push(p.get(0));
    return [];
  },
  'Out-Null': () => [],
  'Set-StrictMode': () => [],
  'Export-ModuleMember': () => [],
  'Import-Module': (p, input, scope) => {
    runFile(p.get(0), new Scope(topScope), new Table());
    return [];
  },
};
const programs = {
  'netsh.exe': (words) => {
    const [a, b, verb, table, ...rest] = words,
      given = Object.fromEntries(rest.map((w) => w.split('=')));
    if (a !== 'interface' || b !== 'portproxy' || table !== 'v4tov4') unknown(`netsh ${words.join(' ')}`);
    const key = `${given.listenaddress}/${given.listenport}`;
    exitCode = 0;
    if (verb === 'show') {
      const rows = Object.entries(windows.proxies).map(([k, v]) =>
        [...k.split('/'), ...v.split('/')].map((w) => w.padEnd(15)).join(' '),
      );
      return rows.length
        ? [
            '',
            '\u00dcberwachung von ipv4:             Verbinden mit ipv4:',
            '',
            'Adresse         Port        Adresse         Port',
            '--------------- ----------  --------------- ----------',
            ...rows,
            '',
          ]
        : [''];
    }
    change();
    if (verb === 'add') windows.proxies[key] = `${given.connectaddress}/${given.connectport}`;
    else if (verb !== 'delete') unknown(`netsh ${verb}`);
    else if (key in windows.proxies) delete windows.proxies[key];
    else exitCode = 1;
    return [''];
  },
  'wsl.exe': (words) => {
    exitCode = 0;
    if (words[0] === '--version') return windows.wsl_version;
    if (words[0] === '--shutdown') {
      change();
      windows.shutdowns += 1;
      return [];
    }
    if (words.slice(-2).join(' ') !== 'hostname -I') unknown(`wsl ${words.join(' ')}`);
    if (words.length > 2) windows.asked = words[1];
    if (windows.address === null) {
      exitCode = 1;
      return ['no distribution'];
    }
    return [`${windows.address} 172.17.0.1 fd00::1 `];
  },
};
const readFile = (path) =>
  windows.files[path] ??
  (() => {
    throw new Failure(`no file ${path}`);
  })();
const types = {
  'system.io.file': {
    readallbytes: (path) => bytes(readFile(path)),
    readalltext: (path) => Buffer.from(readFile(path), 'latin1').toString('utf8'),
    writeallbytes: (path, data) => {
      write(path, latin1(data));
      return undefined;
    },
    writealltext: (path, text) => {
      write(path, Buffer.from(text, 'utf8').toString('latin1'));
      return undefined;
    },
  },
  'system.text.encoding': { getencoding: (page) => (page === 28591 ? encoding : unknown(`code page ${page}`)) },
  convert: {
    tobase64string: (b) => Buffer.from(b).toString('base64'),
    frombase64string: (t) => Uint8Array.from(Buffer.from(t, 'base64')),
  },
  regex: { matches: (text, pattern) => [...text.matchAll(regex(pattern, 'g'))].map((m) => new Table({ Value: m[0] })) },
  'system.security.principal.windowsidentity': { getcurrent: () => new Table({ Name: 'GATEWAY\\J\u00fcrgen' }) },
  environment: { osversion: () => new Table({ Version: new Table({ Build: windows.build }) }) },
};
const encoding = { getstring: latin1, getbytes: bytes };
const methods = {
  string: { contains: (s, what) => s.includes(what), trim: (s) => s.trim() },
  Date: { addseconds: (d, n) => new Date(d.getTime() + n * 1000) },
};

// ---- the language ---------------------------------------------------------------------------------------------------------------
const topScope = new Scope(null);
topScope.values.set('erroractionpreference', 'Continue');
let functions = new Map();
const partsOf = (node) => node.namedChildren.filter((c) => c.type !== 'comment');
const child = (node, type) => node.namedChildren.find((c) => c.type === type);

function variable(node, scope) {
  const name = node.text.replace(/^[$@]\{?|\}$/g, '').toLowerCase();
  if (name === 'true') return true;
  if (name === 'false') return false;
  if (name === 'null') return null;
  if (name === '_') unknown('$_');
  if (name === 'lastexitcode') return exitCode;
  if (name.startsWith('env:')) return environment[name.slice(4)] ?? null;
  const found = name.startsWith('script:') ? scope.script.values.get(name.slice(7)) : scope.find(name);
  // As in Set-StrictMode: a name that nobody has set is a mistake.
  return found === undefined ? unknown(`variable ${node.text}`) : found;
}
function assign(target, value, scope) {
  while (target.namedChildCount === 1 && target.type !== 'variable') target = target.namedChild(0);
  if (target.type === 'variable') {
    const name = target.text.slice(1).toLowerCase();
    if (name.startsWith('env:')) return;
    if (name.startsWith('script:')) scope.script.values.set(name.slice(7), value);
    else scope.values.set(name, value);
  } else if (target.type === 'member_access') {
    const object = evaluate(target.namedChild(0), scope),
      name = child(target, 'member_name').text;
    if (!(object instanceof Table)) unknown(`member ${target.text}`);
    object.set(name, value);
  } else if (target.type === 'element_access') {
    const object = evaluate(target.namedChild(0), scope),
      at = evaluate(target.namedChild(1), scope);
    if (!Array.isArray(object) || !(at in object)) throw new Failure(`no element ${target.text}`);
    object[at] = value;
  } else unknown(`assignment to ${target.type}`);
}
function compare(operator, left, right, scope) {
  const op = operator.toLowerCase().replace(/^-/, ''),
    ordinal = op.startsWith('c') && !op.startsWith('contains');
  const kind = ordinal ? op.slice(1) : op;
  if (kind === 'join') return list(left).map(asText).join(right);
  if (kind === 'notcontains') return !list(left).some((v) => same(asText(v), asText(right)));
  if (Array.isArray(left)) unknown(`${operator} of a list`);
  if (kind === 'replace') return asText(left).replace(regex(right[0], 'gi'), right[1].replace(/\$\{(\d)\}/g, '$$$1'));
  if (kind === 'match' || kind === 'notmatch') {
    const found = regex(right, ordinal ? '' : 'i').exec(asText(left));
    if (found)
      scope.values.set(
        'matches',
        [...found].map((g) => g ?? null),
      );
    return (found !== null) === (kind === 'match');
  }
  if (kind === 'eq' || kind === 'ne') {
    let equal;
    if (left === null || right === null) equal = left === right;
    else if (typeof left === 'string') equal = ordinal ? left === asText(right) : same(left, asText(right));
    else if (typeof left === 'number') equal = left === Number(right);
    else unknown(`${operator} of ${typeof left}`);
    return equal === (kind === 'eq');
  }
  const order = left.version ? (left.version.map((n, i) => n - right.version[i]).find((d) => d !== 0) ?? 0) : left - right;
  return { lt: order < 0, gt: order > 0, ge: order >= 0 }[kind] ?? unknown(operator);
}
const escapes = { n: '\n', r: '\r', t: '\t' };
function expand(node, scope) {
  const text = node.text,
    end = text.length - 1;
  let out = '',
    at = 1;
  const plain = (to) => {
    out += text.slice(at, to).replace(/`(.)/g, (_, c) => escapes[c] ?? c);
  };
  for (const part of node.namedChildren) {
    plain(part.startIndex - node.startIndex);
    out += asText(evaluate(part, scope));
    at = part.endIndex - node.startIndex;
  }
  plain(end);
  return out;
}
function cast(type, value) {
  if (type === 'int') return Number(value);
  if (type === 'version') return { version: asText(value).split('.').map(Number) };
  return unknown(`cast to ${type}`);
}
function member(object, name) {
  const key = name.toLowerCase();
  if (object instanceof Table) return object.has(name) ? object.get(name) : unknown(`member ${name}`);
  if (Array.isArray(object) && key === 'count') return object.length;
  if (typeof object === 'string' && key === 'length') return object.length;
  return unknown(`member ${name} of ${object}`);
}
function evaluate(node, scope) {
  const parts = partsOf(node);
  switch (node.type) {
    case 'variable':
      return variable(node, scope);
    case 'verbatim_string_characters':
      return node.text.slice(1, -1).replaceAll("''", "'");
    case 'expandable_string_literal':
      return expand(node, scope);
    case 'decimal_integer_literal':
    case 'real_literal':
      return Number(node.text);
    case 'generic_token':
    case 'command_name':
      return node.text;
    case 'parenthesized_expression':
    case 'sub_expression':
    case 'array_expression': {
      const out = [];
      for (const part of parts) statement(part, scope, out, true);
      return node.type === 'array_expression' ? out : collapse(out);
    }
    case 'hash_literal_expression': {
      const table = new Table();
      for (const entry of partsOf(node).flatMap(partsOf))
        table.set(child(entry, 'key_expression').text, valueOf(child(entry, 'pipeline'), scope));
      return table;
    }
    case 'member_access':
    case 'invokation_expression': {
      const name = child(node, 'member_name').text,
        key = name.toLowerCase(),
        called = child(node, 'argument_list');
      const given = called ? called.namedChildren.flatMap(partsOf).map((a) => evaluate(a, scope)) : [];
      if (parts[0].type === 'type_literal') {
        const method = types[parts[0].text.slice(1, -1).toLowerCase()]?.[key];
        return method ? method(...given) : unknown(node.text);
      }
      const object = evaluate(parts[0], scope);
      if (!called) return member(object, name);
      if (object === 'PSCmdlet' && key === 'shouldprocess') {
        if (scope.find('whatifpreference')) step.output.push(`What if: ${given.join(': ')}`);
        return !scope.find('whatifpreference');
      }
      const method =
        object === encoding
          ? encoding[key]?.bind(null)
          : methods[typeof object === 'string' ? 'string' : object?.constructor?.name]?.[key]?.bind(null, object);
      return method ? method(...given) : unknown(`method ${name} of ${object}`);
    }
    case 'element_access': {
      const object = evaluate(parts[0], scope),
        at = evaluate(parts[1], scope);
      return (Array.isArray(object) ? object[at] : unknown(`an element of ${typeof object}`)) ?? null;
    }
    case 'cast_expression':
      return cast(parts[0].text.slice(1, -1), evaluate(parts[1], scope));
    case 'post_increment_expression': {
      const value = variable(parts[0], scope);
      assign(parts[0], value + 1, scope);
      return undefined;
    }
    case 'expression_with_unary_operator': {
      const value = evaluate(parts.at(-1), scope),
        sign = node.child(0).text;
      return node.child(0).isNamed
        ? value
        : sign === '-not'
          ? !truth(value)
          : sign === '-'
            ? -value
            : unknown(`operator ${sign}`);
    }
    case 'pipeline':
      return collapse(pipeline(node, scope));
  }
  if (node.type === 'logical_expression' && parts.length === 2) {
    const left = truth(evaluate(parts[0], scope));
    if (node.child(1).text === '-and') return left && truth(evaluate(parts[1], scope));
    if (node.child(1).text === '-or') return left || truth(evaluate(parts[1], scope));
  }
  if (node.type === 'comparison_expression' && parts.length === 3)
    return compare(parts[1].text, evaluate(parts[0], scope), evaluate(parts[2], scope), scope);
  if (node.type === 'additive_expression' && parts.length === 2 && node.child(1).text === '+') {
    const left = evaluate(parts[0], scope),
      right = evaluate(parts[1], scope);
    return Array.isArray(left) ? [...left, ...list(right)] : typeof left === 'string' ? left + asText(right) : left + right;
  }
  if (node.type === 'array_literal_expression' && parts.length > 1) return parts.map((p) => evaluate(p, scope));
  if (parts.length === 1) return evaluate(parts[0], scope);
  return unknown(`${node.type}: ${node.text.slice(0, 80)}`);
}

const switches = new Set([
  'force',
  'startwhenavailable',
  'allowstartifonbatteries',
  'dontstopifgoingonbatteries',
  'atstartup',
  'atlogon',
  'keepwslrunning',
  'whatif',
]);
function command(node, scope, input) {
  const called = child(node, 'command_name') ?? child(node, 'command_name_expr').namedChild(0);
  const name = called.type === 'path_command_name' ? variable(called.namedChild(0), scope) : asText(evaluate(called, scope));
  const words = [],
    parameters = new Table();
  let position = 0,
    waiting = null;
  const value = (v) => {
    if (waiting) {
      parameters.set(waiting, v);
      waiting = null;
    } else parameters.set(String(position++), v);
  };
  for (const part of child(node, 'command_elements')?.namedChildren ?? []) {
    if (part.type === 'command_argument_sep' || part.text === '2>$null') continue;
    if (part.type === 'command_parameter') {
      words.push(part.text);
      waiting = part.text.slice(1);
      if (switches.has(waiting.toLowerCase()) && part.nextSibling?.text !== ':') {
        parameters.set(waiting, true);
        waiting = null;
      }
    } else if (
      part.text.startsWith('@') &&
      part.type === 'array_literal_expression' &&
      !part.text.startsWith('@{') &&
      !part.text.startsWith('@(')
    ) {
      const splat = variable({ text: part.text }, scope);
      if (splat instanceof Table) for (const [k, v] of splat.entries()) parameters.set(k, v);
      else {
        words.push(...splat);
        splat.forEach(value);
      }
    } else {
      const v = evaluate(part, scope);
      words.push(v);
      value(v);
    }
  }
  if (name in programs) return programs[name](words.map(asText));
  if (waiting) unknown(`-${waiting} without a value`);
  const proxy = { get: (n) => parameters.get(String(n)), has: (n) => parameters.has(n), entries: () => parameters.entries() };
  const own = functions.get(name.toLowerCase());
  if (own) return runBlock(own.block, new Scope(own.module ?? scope, own.module ?? scope.script), parameters);
  if (name.endsWith('.ps1')) return runFile(name, new Scope(scope), parameters);
  const standIn = standIns[name] ?? unknown(`command ${name}`);
  return standIn(proxy, input, scope);
}
function pipeline(node, scope) {
  if (node.type === 'pipeline' && child(node, 'assignment_expression')) {
    statement(node, scope, [], false);
    return [];
  }
  const chain = node.type === 'pipeline' ? child(node, 'pipeline_chain') : node;
  let out = [];
  partsOf(chain).forEach((part, i) => {
    if (part.type === 'command') {
      // Each value is given on by itself; Remove-… of nothing is nothing.
      const got = command(part, scope, out);
      out = got.filter((v) => v !== undefined);
    } else {
      const value = evaluate(part, scope);
      out = value === undefined ? [] : flat(value);
    }
  });
  return out;
}
function statement(node, scope, out) {
  const parts = partsOf(node);
  switch (node.type) {
    case 'statement_list':
    case 'statement_block':
    case 'script_block_body':
      for (const part of parts) statement(part, scope, out);
      return;
    case 'empty_statement':
    case 'comment':
      return;
    case 'function_statement':
      functions.set(child(node, 'function_name').text.toLowerCase(), {
        block: child(node, 'script_block'),
        module: scope.module ? scope : null,
      });
      return;
    case 'pipeline': {
      const set = child(node, 'assignment_expression');
      if (!set) {
        out.push(...pipeline(node, scope));
        return;
      }
      const [target, operator, from] = partsOf(set);
      let value = valueOf(from, scope);
      if (operator.text === '+=') {
        const was = evaluate(target, scope);
        value = Array.isArray(was) ? [...was, ...list(value)] : was + value;
      }
      assign(target, value, scope);
      return;
    }
    case 'if_statement': {
      if (truth(evaluate(child(node, 'pipeline'), scope))) {
        statement(child(node, 'statement_block'), scope, out);
        return;
      }
      for (const other of child(node, 'elseif_clauses')?.namedChildren ?? []) {
        if (truth(evaluate(child(other, 'pipeline'), scope))) {
          statement(child(other, 'statement_block'), scope, out);
          return;
        }
      }
      const otherwise = child(node, 'else_clause');
      if (otherwise) statement(child(otherwise, 'statement_block'), scope, out);
      return;
    }
    case 'while_statement':
    case 'for_statement': {
      if (node.type === 'for_statement') statement(child(node, 'for_initializer').namedChild(0), scope, []);
      const condition = child(node, 'while_condition') ?? child(node, 'for_condition');
      while (truth(evaluate(condition.namedChild(0), scope))) {
        if (loopBody(child(node, 'statement_block'), scope, out)) break;
        if (node.type === 'for_statement') statement(child(node, 'for_iterator').namedChild(0), scope, []);
      }
      return;
    }
    case 'foreach_statement': {
      for (const value of pipeline(child(node, 'pipeline'), scope)) {
        if (value === null) continue;
        assign(child(node, 'variable'), value, scope);
        if (loopBody(child(node, 'statement_block'), scope, out)) break;
      }
      return;
    }
    case 'flow_control_statement': {
      const kind = node.child(0).text,
        given = child(node, 'pipeline');
      if (kind === 'throw') throw given ? new Failure(asText(evaluate(given, scope))) : scope.find('caught');
      if (kind === 'return' && given) {
        const value = pipeline(given, scope);
        out.push(...value.filter((v) => v !== null));
      }
      throw new Flow(kind);
    }
    case 'try_statement': {
      try {
        statement(child(node, 'statement_block'), scope, out);
      } catch (e) {
        if (!(e instanceof Failure)) throw e;
        scope.values.set('caught', e);
        statement(child(child(node, 'catch_clauses').namedChild(0), 'statement_block'), scope, out);
      }
      return;
    }
  }
  unknown(`statement ${node.type}`);
}
// What a variable is set to: an expression's value as it is; of what a command prints, one alone is no list.
function valueOf(node, scope) {
  const parts = partsOf(child(node, 'pipeline_chain'));
  return parts.length === 1 && parts[0].type !== 'command'
    ? (evaluate(parts[0], scope) ?? null)
    : collapse(pipeline(node, scope));
}
function loopBody(block, scope, out) {
  try {
    statement(block, scope, out);
  } catch (e) {
    if (e instanceof Flow && e.kind === 'break') return true;
    if (!(e instanceof Flow && e.kind === 'continue')) throw e;
  }
  return false;
}
function bind(block, scope, parameters) {
  const names = [];
  for (const declared of child(child(block, 'param_block') ?? block, 'parameter_list')?.namedChildren ?? []) {
    if (declared.type !== 'script_parameter') continue;
    const name = child(declared, 'variable').text.slice(1),
      type = declared.text.match(/\[(string|int|switch|string\[\])\]\$/)?.[1];
    const initial = child(declared, 'script_parameter_default');
    let value = parameters.get(name) ?? (parameters.has(name) ? null : undefined);
    if (value === undefined) value = initial ? evaluate(initial.namedChild(0), scope) : null;
    if (type === 'string') value = asText(value);
    if (type === 'int') value = Number(value);
    if (type === 'switch') value = truth(value);
    if (type === 'string[]') value = list(value).map(asText);
    scope.values.set(name.toLowerCase(), value);
    names.push(name.toLowerCase());
  }
  for (const [given, value] of parameters.entries()) {
    if (same(given, 'WhatIf')) scope.values.set('whatifpreference', value);
    else if (!names.includes(given.toLowerCase())) unknown(`parameter ${given}`);
  }
}
function runBlock(block, scope, parameters) {
  bind(block, scope, parameters);
  const out = [];
  try {
    for (const part of partsOf(block)) if (part.type !== 'param_block') statement(part, scope, out);
  } catch (e) {
    if (!(e instanceof Flow && e.kind === 'return')) throw e;
  }
  return out;
}
const trees = new Map();
function runFile(path, scope, parameters) {
  let text;
  if (folder(path) === where) text = readFileSync(`${scripts}/${path.slice(where.length + 1)}`, 'utf8');
  else text = windows.files[path] ?? unknown(`file ${path}`);
  if (!trees.has(text)) trees.set(text, parser.parse(text));
  const root = trees.get(text).rootNode;
  if (root.hasError) throw new Error(`${path} is not PowerShell`);
  scope.values.set('psscriptroot', folder(path));
  scope.values.set('pscmdlet', 'PSCmdlet');
  scope.module = path.endsWith('.psm1');
  return runBlock(root, scope, parameters);
}

writeFileSync(
  1,
  JSON.stringify(
    trials.map((trial) => {
      windows = structuredClone(trial.windows);
      return trial.steps.map((one) => {
        step = { ...one, output: [], warnings: [], errors: [], changes: 0, error: null };
        for (const [kind, values] of Object.entries(one.meanwhile ?? {})) {
          windows[kind] = values !== null && typeof values === 'object' ? { ...windows[kind], ...values } : values;
        }
        functions = new Map();
        try {
          step.output.push(
            ...runFile(`${one.in ?? where}\\${one.script}`, new Scope(topScope), new Table(one.parameters ?? {})).map(asText),
          );
        } catch (e) {
          if (!(e instanceof Failure)) throw e;
          step.error = e.message;
        }
        const { output, warnings, errors, error, changes } = step;
        return { output, warnings, errors, error, changes, windows: structuredClone(windows) };
      });
    }),
  ),
);
process.exit(0);
