#!/usr/bin/env python3
"""`kubernetes_form.py MANIFEST`: whether a manifest is in the form of Kubernetes' API, by the models of its Python client: no
member that is not known, no value of another type, none missing. Exit status 77: the client is not installed.

A program of its own: the client has a module `websocket`, as tests/e2e has.
"""
import re
import sys

try:
    import yaml
    from kubernetes.client import models
except ImportError as e:
    print(f'python3-kubernetes or python3-yaml is not installed: {e}')
    sys.exit(77)
PLAIN = {'str': str, 'int': int, 'bool': bool}


def held_against(kind, value, where):
    many = re.fullmatch(r'(?:list\[|dict\(str, )(.*)[\])]', kind)
    if many:
        if not isinstance(value, list if kind.startswith('list') else dict):
            sys.exit(f'{where} is no {kind}')
        for name, one in enumerate(value) if isinstance(value, list) else value.items():
            held_against(many[1], one, f'{where}.{name}')
    elif kind in PLAIN:
        if type(value) is not PLAIN[kind]:
            sys.exit(f'{where}: {value!r} is no {kind}')
    elif kind not in ('object', 'datetime'):  # such as an IntOrString
        model = getattr(models, kind)
        names = {member: name for name, member in model.attribute_map.items()}
        for member, one in value.items():
            if member not in names:
                sys.exit(f'{where} knows no {member}')
            held_against(model.openapi_types[names[member]], one, f'{where}.{member}')
        model(**{names[member]: one for member, one in value.items()})  # raises where a required one is missing


for document in yaml.safe_load_all(open(sys.argv[1], encoding='utf-8')):
    held_against('V1' + document['kind'], document, document['kind'])
