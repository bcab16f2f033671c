#!/bin/sh
# trim.sh SITE_PACKAGES: leave out what no program imports, and compile what most of them do.
set -eu
cd "$1"
# Of Twilio's APIs ours is messages.
[ ! -d twilio ] || find twilio/rest -mindepth 1 -maxdepth 1 ! -name '__init__.py' ! -name api -exec rm -r {} +
# Of Babel's languages ours are those of the mails.
[ ! -d babel ] || find babel/locale-data -name '*.dat' ! -name root.dat ! -name 'en*' ! -name 'de*' -exec rm {} +
find . -type d -name tests -prune -exec rm -r {} +
find . -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' | xargs rm -f
# Those that only some programs import compile themselves in memory.
python3 -m compileall -q -x '/(twilio|stripe|aiohttp|pytz|sqlalchemy/dialects/(mssql|mysql|oracle|sqlite))/' .
