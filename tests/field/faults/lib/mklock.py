"""mklock.py DIR SOURCES_JSON [SIZE]: writes model.bin, engine.zip, concierge.toml and a concierge.lock with a stub engine."""
import hashlib, json, os, sys, zipfile
from pathlib import Path
from concierge.lock import file as lf, resolve as locks
from concierge.catalog.loader import load
from concierge.catalog.types import Artefact, Catalog
from concierge.config.keys import Llm
d = Path(sys.argv[1]); sources = json.loads(sys.argv[2]); here = Path(__file__).parent
m = d / 'model.bin'
if not m.exists(): m.write_bytes(os.urandom(12_000_000))
z = d / 'engine.zip'
if not z.exists():
    with zipfile.ZipFile(z, 'w') as f: f.writestr('xllamacpp/__init__.py', (here / 'stub_engine.py').read_text())
def art(path, name, srcs, **k):
    b = path.read_bytes()
    return Artefact.model_validate({'name': name, 'size': int(sys.argv[3]) if len(sys.argv) > 3 and name.endswith('gguf') else len(b), 'sha256': hashlib.sha256(b).hexdigest(), 'trust': 'seen', 'sources': srcs, **k})
cat = load(); model = cat.model('smollm2-135m')
build = next(b for b in cat.builds if b.launcher == 'xllamacpp' and b.accelerator == 'cpu' and b.system == 'x86_64-linux')
engine = art(z, 'engine.zip', [{'kind': 'path', 'path': str(z)}], archive='zip')
gguf = art(m, 'model.gguf', sources or [{'kind': 'path', 'path': str(m)}])
c = Catalog(builds=(build.model_copy(update={'artefact': (engine,)}),), models=(model.model_copy(update={'artefact': (gguf,)}),))
(d / 'concierge.toml').write_text('[llm]\nmodel = "smollm2-135m"\n')
base = locks.resolve(Llm(model='smollm2-135m'), cat)
(d / 'concierge.lock').write_text(lf.dump(lf.seal(base.generator, base.llm, c, dict(base.serving))))
