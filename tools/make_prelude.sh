#!/bin/sh
# Bundles src/runtime/v8/prelude into the committed artefact prelude_bundle.js, so that a build
# needs no npm. Run it after a change to a prelude source; the result depends only on the sources
# and on the versions named in package-lock.json.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
source="$root/src/runtime/v8/prelude"
work=${PRELUDE_WORK:-$root/build/prelude}
mkdir -p "$work"
cp "$source"/*.js "$source"/package.json "$work"/
[ ! -f "$source/package-lock.json" ] || cp "$source/package-lock.json" "$work"/
cd "$work"
if [ -f package-lock.json ]; then npm ci --no-audit --no-fund --silent; else npm install --no-audit --no-fund --silent; fi
cp package-lock.json "$source"/
npx esbuild main.js --bundle --minify --format=iife --target=chrome102 --charset=ascii \
  --legal-comments=none --outfile=prelude_bundle.js --log-level=warning
cp prelude_bundle.js "$root/src/runtime/v8/prelude_bundle.js"
wc -c "$root/src/runtime/v8/prelude_bundle.js"
