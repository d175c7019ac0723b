"""What a shell line would touch: the parser, the table of commands that only read, and the paths."""

import pytest

from quell.core.permissions import Access, check
from quell.tools.shell import parse
from tests.tools.conftest import Hands

READ_ONLY = r"""
ls
ls -la src
cat a.txt b.txt
cat src/*.py
head -n 5 a.txt | tail -2
echo hello "$HOME" $(pwd) `whoami`
printf '%s\n' a
pwd; whoami && id || true
wc -l < a.txt
ls > /dev/null 2>&1
ls 2>/dev/null | wc -l
cd src && ls
(cd src; pwd) | cat
{ ls; pwd; }
! grep -q x a.txt
grep -rn "pattern with spaces" src
grep '/api/v1' src
grep -e foo a.txt
rg -n --glob '*.py' needle src
rg -l foo
find . -name '*.py' -type f
find src \( -name a -o -name b \) -print0
find . -maxdepth 2 -not -path './node_modules/*'
sort -u a.txt | uniq -c
sort -t: -k2 a.txt
diff -u a.txt b.txt
git status
git status --short -b
git log --oneline -5
git log -n 3 --stat -- src
git --no-pager diff HEAD~1 --name-only
git diff --cached
git show HEAD:src/a.py
git branch
git branch -a
git branch --list 'feature/*'
git branch --contains HEAD
git tag -l 'v*'
git remote -v
git config --get user.name
git rev-parse --show-toplevel
git ls-files '*.py'
git blame -L 1,5 a.txt
git stash list
git -C src status
python --version
node -v
time ls
env ls
command ls
nice -n 5 ls
timeout -k 1 5 ls -l
find . -name '*.py' -exec wc -l {} +
which python
command -v git
date +%Y-%m-%d
sed -n '10,20p' a.txt
sed -n 5p a.txt
test -f a.txt && echo yes
[ -f a.txt ] || echo no
[ "$x" = "y" ]
[[ -n $x && $x == y* ]]
x=1; echo $x
name=$(pwd)
for f in a b; do echo "$f"; done
if [ -d src ]; then ls src; elif true; then pwd; else exit 1; fi
while false; do ls; done
case x in x) ls;; *) pwd;; esac
set -euo pipefail
cat <<'EOF'
cat <<EOF
jq .name a.txt
stat a.txt && file a.txt && du -sh src
echo $((1 + 2))
ls # rm -rf /
echo 'rm -rf /' "; rm x"
tree -L 2
cut -d: -f1 a.txt | tr a-z A-Z
""".strip().splitlines()

# Each writes, runs something else, or may do so: none of them may be taken for read-only.
NOT_READ_ONLY = r"""
rm a.txt
ls; rm a.txt
ls & rm a.txt
ls | xargs rm
ls $(rm a.txt)
ls `rm a.txt`
echo "$(rm a.txt)"
echo "${x:-$(rm a.txt)}"
cat <(rm a.txt)
cat <<< "$(rm a.txt)"
(rm a.txt)
{ rm a.txt; }
! rm a.txt
if rm a.txt; then ls; fi
for x in $(rm a.txt); do ls; done
while rm a.txt; do ls; done
case $(rm a.txt) in x) ls;; esac
f() { rm a.txt; }; f
ls() { echo x; }; ls
:(){ :|:& };:
time rm a.txt
nohup ls
env
printenv
printenv HOME
ps axeww
ps e
ps auxE
grep -rf ../outside .
env FOO=1 ls
xargs ls
sudo ls
exec ls
eval ls
eval "rm a.txt"
builtin ls
source a.sh
. a.sh
sh a.sh
sh -c ls
bash -c 'rm a.txt'
bash -c "ls $x"
trap 'rm a.txt' EXIT
alias ls=rm
export PATH=/evil
PATH=/evil ls
PATH=/evil; ls
LD_PRELOAD=./x.so ls
IFS=/ ls
GIT_PAGER=./x git log
for PATH in /evil; do ls; done
declare -x X=1
unset PATH
read x
printf -v 'a[$(rm x)]' y
[ -v 'a[$(rm x)]' ]
[ -n $x ]
[[ $x -eq 1 ]]
[[ -v x ]]
test $x
((x))
((a[$(rm x)]=1))
echo $((x))
echo $((a[0]))
echo ${x@P}
echo ${!x}
echo ${x:y}
echo ${a[x]}
for ((i=x;i<3;i++)); do ls; done
$CMD
$CMD a.txt
"$CMD"
l? a.txt
{rm,a.txt}
r\m a.txt
'r'm a.txt
./ls
/bin/ls
src/../ls
cat $x
cat {a,b}
wc "$f"
git
git log --output=a.txt
git log --outp=a.txt
git diff --ext-diff
git -c core.pager=./x log
git -c alias.x='!rm a.txt' x
git --exec-path=. status
git --git-dir=x status
git log $x
git log *
git branch new
git branch -D main
git branch -m new
git tag v1
git tag -d v1
git remote add x y
git remote set-url origin x
git config user.name x
git config --global --list --edit
git stash
git stash pop
git checkout .
git commit -m x
git push
git fetch
git grep -O x
git grep --open-files-in-pager=rm x
git submodule foreach rm
git reflog expire --all
git help log
git show --textconv x
find . -delete
find . -exec rm {} +
find . -execdir rm {} ;
find . -ok rm {} ;
find . -fprintf a.txt x
find . -fls a.txt
sort -o a.txt b.txt
sort -oa.txt b.txt
sort --output=a.txt b.txt
sort --outp=a.txt b.txt
sort --compress-program=./x b.txt
sort *
uniq a.txt b.txt
rg --pre ./x needle
rg --pre=./x needle
rg --hostname-bin=./x needle
rg -z needle
sed -i s/a/b/ a.txt
sed -n 'w a.txt' b.txt
sed -n '1,5p' -i a.txt
sed -n '1e rm' a.txt
sed s/a/b/ a.txt
awk '{print}' a.txt
awk 'BEGIN{system("rm a.txt")}'
perl -e 1
python -c 1
python --version x
python a.py
node -v x
npm test
make
tree -o a.txt
tree -R
date -s tomorrow
date 01010000
date --set=x
hostname evil
file -C -m x
file -z x
diff -l a b
xxd a.txt b.txt
tee a.txt
dd if=a of=b
cp a b
mv a b
ln -s a b
mkdir x
touch x
chmod +x a.txt
curl example.com
kill 1
set -- a
coproc ls
ps --personality=x
command -p ls
ls;rm a.txt
""".strip().splitlines()


def is_read_only(access: Access) -> bool:
    whole = bool(access.commands) and all(command.read_only for command in access.commands)
    return (
        whole
        and not access.opaque
        and not access.outside
        and not any(c.outside for c in access.commands)
        and not access.paths
    )


@pytest.mark.parametrize("command", READ_ONLY)
def test_reading_commands_are_known(hands: Hands, command: str) -> None:
    command = command.replace("EOF", "EOF\nx $(pwd)\nEOF\n", 1) if "<<" in command else command
    command = command.replace("<<'EOF\n", "<<'EOF'\n").replace("\nEOF\n'", "\nEOF\n")
    access = hands.access("bash", command=command)
    assert is_read_only(access), access
    assert check(access, (), "plan").answer == "allow"


@pytest.mark.parametrize("command", NOT_READ_ONLY)
def test_other_commands_are_not(hands: Hands, command: str) -> None:
    access = hands.access("bash", command=command)
    assert not is_read_only(access), access
    assert check(access, (), "plan").answer != "allow"


@pytest.mark.parametrize(
    "command",
    [
        "ls\rrm a.txt",
        "ls\x0brm",
        "ls\u00a0rm",
        "ls\u2028rm a.txt",
        "ls 'a",
        "ls $(",
        "ls \x01",
        "echo ${",
        "ls >",
        "if ls",
        "ls <<EOF",
        "ls <> a",
        "cat\\\na.txt",
        "r\\\nm a.txt",
    ],
    ids=ascii,
)
def test_what_is_not_understood_is_opaque(hands: Hands, command: str) -> None:
    assert hands.access("bash", command=command).opaque


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("a | b && c || d; e & f\ng", ["a", "b", "c", "d", "e", "f", "g"]),
        ("a $(b `c`) <(d) >(e)", ["a $(b `c`) <(d) >(e)", "b `c`", "c", "d", "e"]),
        ("npm run \"te\"st -- --x='a b' c\\ d", ["npm run test -- --x=a b c d"]),
        ("cat <<EOF | sh\n$(rm x)\nEOF", ["cat", "sh", "rm x"]),
        ("bash -c 'rm x; ls'", ["bash -c rm x; ls", "rm x", "ls"]),
        ("sh -ec \"sh -c 'rm x'\"", ["sh -ec sh -c 'rm x'", "sh -c rm x", "rm x"]),
        ("eval rm 'x y'", ["eval rm x y", "rm x y"]),
        ("A=1 B=$(b) make", ["A=1 B=$(b) make", "make", "b"]),
        ("ls \\\n -l", ["ls -l"]),
        ("make 2>&1 >/dev/null", ["make"]),
        ("f() { g; }", ["function f", "g"]),
    ],
    ids=range(11),
)
def test_every_simple_command_is_found(command: str, words: list[str]) -> None:
    line = parse(command)
    assert [" ".join(word.text for word in simple.words) for simple in line.commands] == words
    assert not line.opaque


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("ls > out.txt", ["out.txt"]),
        ("ls >> src/../out.txt", ["out.txt"]),
        ("ls >| a; ls &> b; ls &>> c; ls >& e", ["a", "b", "c", "e"]),
        ("{ ls; } > 'a b'", ["a b"]),
        ("while true; do ls; done > a", ["a"]),
        ("> truncated", ["truncated"]),
        ("f() { ls > deep; }", ["deep"]),
        ("echo $(ls > inner)", ["inner"]),
        ("bash -c 'ls > quoted'", ["quoted"]),
        ("cd src && ls > x", ["x", "src/x"]),
        ("ls 2>&1 >/dev/null </dev/null 2>&-", []),
        ("cat <<EOF > a\nx\nEOF", ["a"]),
    ],
    ids=range(12),
)
def test_redirections_are_writes(hands: Hands, command: str, written: list[str]) -> None:
    access = hands.access("bash", command=command)
    assert list(access.paths) == [str(hands.root / name) for name in written]
    assert access.outside == ()
    assert not access.opaque
    if written:
        assert check(access, (), "plan").answer == "deny"


@pytest.mark.parametrize(
    "command",
    [
        "ls > $x",
        "ls > *.txt",
        "ls > $(pwd)/x",
        "ls < $x",
        "ls > /dev/tcp/host/80",
        "cd $x && ls",
        "cd - && ls",
        "pushd x",
    ],
)
def test_targets_that_are_not_known_are_opaque(hands: Hands, command: str) -> None:
    assert hands.access("bash", command=command).opaque


@pytest.mark.parametrize(
    ("command", "outside"),
    [
        ("cat /etc/passwd", "/etc/passwd"),
        ("cat ../x", "{top}/x"),
        ("cat src/../../x", "{top}/x"),
        ("cat link/passwd", "/etc/passwd"),
        ("ls /etc/*.conf", "/etc"),
        ("ls ../*", "{top}"),
        ("ls /*", "/"),
        ("grep x /etc/passwd", "/etc/passwd"),
        ("grep -f/etc/passwd x", "/etc/passwd"),
        ("rg --ignore-file=/etc/passwd x", "/etc/passwd"),
        ("cd / && cat etc/passwd", "/etc/passwd"),
        ("cd .. && ls", "{top}"),
        ("cd && ls", "{home}"),
        ("cat ~/.ssh/id_rsa", "{home}/.ssh/id_rsa"),
        ("cat < /etc/passwd", "/etc/passwd"),
        ("git -C /etc status", "/etc"),
        ("[ -f /etc/passwd ]", "/etc/passwd"),
        ("find / -name x", "/"),
        ("cat /proc/self/root/etc/passwd", "/etc/passwd"),
        ("cat ''/etc/passwd", "/etc/passwd"),
        ("echo $(cat /etc/passwd)", "/etc/passwd"),
    ],
    ids=range(21),
)
def test_paths_beyond_the_workspace_are_named(hands: Hands, command: str, outside: str) -> None:
    (hands.root / "link").symlink_to("/etc")
    access = hands.access("bash", command=command)
    wanted = outside.format(top=hands.root.parent, home=hands.workspace.place("~").path)
    assert wanted in {path for each in access.commands for path in each.outside}
    assert check(access, (), "edits").answer == "ask"


def test_a_folder_outside_is_named(hands: Hands) -> None:
    access = hands.access("bash", command="ls", working_dir="/etc")
    assert "/etc" in access.commands[0].outside


def test_a_redirection_outside_is_named(hands: Hands) -> None:
    assert hands.access("bash", command="ls > /etc/x").outside == ("/etc/x",)
    assert hands.access("bash", command="ls > ~/.bashrc").outside == (hands.workspace.place("~/.bashrc").path,)


def test_deep_nesting_neither_fails_nor_is_trusted(hands: Hands) -> None:
    assert hands.access("bash", command="$(" * 500 + "ls" + ")" * 500).opaque
    assert hands.access("bash", command="( " * 50 + "ls" + " )" * 50).commands[0].words == ("ls",)
    nested = "ls"
    for _ in range(6):
        nested = f"bash -c {nested!r}"
    assert not is_read_only(hands.access("bash", command=nested))


async def test_an_empty_command_is_refused(hands: Hands) -> None:
    assert "empty" in (await hands.use("bash", command=" \n")).text
    assert "NUL" in (await hands.use("bash", command="a\0b")).text
