/**
 * Completion scripts of shells: those of effect/cli, with files where files stand, and with the methods of the file on the command
 * line, for which they run `callisto describe FILE --names`.
 */
import * as Command from "effect/cli/Command"
import * as Completions from "effect/cli/Completions"
import type * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as Console from "effect/Console"
import * as Option from "effect/Option"

type GlobalFlags = ReadonlyArray<{ readonly flag: Flag.Flag<any> }>

/** What scripts are told of the flags that every command takes. */
export const descriptorsOf = (flags: GlobalFlags): ReadonlyArray<Completions.FlagDescriptor> =>
  Completions.fromCommand(
    Command.make("flags", Object.fromEntries(flags.map(({ flag }, i): [string, Flag.Flag<any>] => [`flag${i}`, flag])))
  ).flags.map((flag) => ({ ...flag, negation: false }))

/** `--completions`, in place of that of effect/cli. */
export const makeCompletions = (flags: GlobalFlags): typeof GlobalFlag.Completions =>
  GlobalFlag.Action({
    flag: GlobalFlag.Completions.flag,
    run: (shell, { command }) =>
      Option.match(shell, {
        onNone: () => Effect.void,
        onSome: (shell) => {
          const root = Completions.fromCommand(command)
          const everywhere = descriptorsOf([...flags, GlobalFlag.Help])
          const withFlags = (each: Completions.CommandDescriptor): Completions.CommandDescriptor => ({
            ...each,
            flags: [...each.flags, ...everywhere],
            subcommands: each.subcommands.map(withFlags)
          })
          return Console.log(scriptOf(shell, {
            ...root,
            flags: [...root.flags, ...everywhere, ...descriptorsOf([GlobalFlag.Version, GlobalFlag.Completions])],
            subcommands: root.subcommands.map(withFlags)
          }))
        }
      })
  })

const files: Completions.ArgumentType = { _tag: "Path", pathType: "file" }
const folders: Completions.ArgumentType = { _tag: "Path", pathType: "directory" }

const argumentTypes: { readonly [name: string]: Completions.ArgumentType | undefined } = {
  FILE: files,
  FOLDER: folders,
  OLD: files,
  NEW: files
}
const flagTypes: { readonly [name: string]: Completions.ArgumentType | undefined } = {
  out: files,
  database: files,
  include: folders,
  "password-file": files
}

/** Paths are arguments of text for effect/cli, which would make them absolute. */
const withPaths = (command: Completions.CommandDescriptor): Completions.CommandDescriptor => ({
  ...command,
  flags: command.flags.map((flag) => ({ ...flag, type: flagTypes[flag.name] ?? flag.type })),
  arguments: command.arguments.map((argument) => ({
    ...argument,
    type: argumentTypes[argument.name] ?? argument.type
  })),
  subcommands: command.subcommands.map(withPaths)
})

const scriptOf = (shell: Completions.Shell, command: Completions.CommandDescriptor): string => {
  const script = withFilters(shell, Completions.generate(command.name, shell, withPaths(command)))
    // Where zsh expects a method, it asks for those of the file.
    .replace(/((?:A method by its name or number|One method, by its name or number)[^'\n]*:)'/g, "$1_callisto_methods'")
  // A script of zsh ends with its call, where it is loaded as a function.
  const end = script.lastIndexOf(shell === "zsh" ? "# Handle both" : "###-end-")
  const more = methods[shell]
  return more === undefined || end < 0 ? script : script.slice(0, end) + more + script.slice(end)
}

/** Where a description stands, offers folders and files that can be one. */
const withFilters = (shell: Completions.Shell, script: string): string => {
  switch (shell) {
    case "bash": {
      const [before, imports, after] = script.split(/(?=^_callisto_(?:import|describe)\(\))/m)
      const filtered = (text: string | undefined, kind: string): string =>
        (text ?? "").replace(/^( {4}\d+\)\n\s*_callisto--paths -f "\$cur" "\$_comp_word")$/gm, `$1 '${kind}'`)
      return [before, filtered(imports, "idl"), filtered(after, "idl|ts|js|mts|mjs|cts|cjs")].join("")
        .replace(
          'compgen "$_kind" -- "$_prefix")',
          'compgen "$_kind" -- "$_prefix" | _callisto_kept "$_filter")'
        )
        .replace('local _kind="$1" _cur="$2" _word="$3"', 'local _kind="$1" _cur="$2" _word="$3" _filter="$4"')
    }
    case "zsh":
      return script
        .replace(/(The IDL file):_files'/g, `$1:_files -g "*.(#i)idl"'`)
        .replace(
          /((?:An IDL file|What clients know|What the server will serve)[^'\n]*):_files'/g,
          `$1:_files -g "*.(#i)(idl|ts|js|mts|mjs|cts|cjs)"'`
        )
    case "fish":
      return script.replaceAll("__fish_use_subcommand", "__callisto_no_command").replace(
        /^(complete -c callisto -n '__fish_seen_subcommand_from (\w+)') -r -F( -d '(?:The IDL file|An IDL file|What clients|What the server))/gm,
        (_, start, command, end) => `${start} -f -a '(__callisto_files ${command === "import" ? "idl" : ""})'${end}`
      )
    default:
      return script
  }
}

const methods: { readonly [Shell in Completions.Shell]?: string } = {
  bash: `
# Of paths, the folders and the files with one of these endings
_callisto_kept()
{
  local path
  while IFS= read -r path; do
    if [[ -z "$1" || -d "\${path/#\\~\\//$HOME/}" || "|$1|" == *"|$(printf %s "\${path##*.}" | tr A-Z a-z)|"* ]]; then
      printf '%s\\n' "$path"
    fi
  done
}

# Methods, from the file on the command line
_callisto_with_methods()
{
  local cur prev words cword i command="" file="" place=0
  _init_completion -n "$COMP_WORDBREAKS" || return
  for ((i = 1; i < cword; i++)); do
    case "\${words[i]}" in
      --include|--interface|--timeout|--user|--domain|--password-file|--level|--provider|--kdc) ((i += 1)) ;;
      -*) ;;
      *)
        if [[ -z "$command" ]]; then
          command="\${words[i]}"
        else
          ((place += 1))
          case "$command $place" in
            "call 2"|"describe 1") file="\${words[i]}" ;;
          esac
        fi
        ;;
    esac
  done
  if [[ -n "$file" && "$cur" != [-@{\\'\\"]* && ! ("$command" == describe && "$place" -gt 1) ]]; then
    file=\${file//[\\"\\']/}
    COMPREPLY=( $(compgen -W "$(callisto describe "\${file/#\\~\\//$HOME/}" --names 2>/dev/null)" -- "$cur") )
    return
  fi
  _callisto "$@"
}
complete -F _callisto_with_methods callisto
`,
  zsh: `
# Methods, from the file on the command line
_callisto_methods() {
  local -a names
  local i file place=0
  for ((i = 2; i < CURRENT; i++)); do
    case "\${words[i]}" in
      --include|--interface|--timeout|--user|--domain|--password-file|--level|--provider|--kdc) ((i += 1)) ;;
      -*) ;;
      *)
        ((place += 1))
        [[ "$words[1] $place" == ("call 2"|"describe 1") ]] && file="\${(Q)words[i]}"
        ;;
    esac
  done
  [[ -n "$file" ]] || return 1
  names=("\${(@f)$(callisto describe "\${file/#\\~\\//$HOME/}" --names 2>/dev/null)}")
  compadd -a names
}

`,
  fish: `
# Whether no command stands on the line yet; that of fish takes the value of a flag for one
function __callisto_no_command
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word --timeout --user --domain --password-file --level --provider --kdc --completions
            set skip 1
        else if not string match -q -- '-*' $word
            return 1
        end
    end
end

# Folders, and files that can be a description
function __callisto_files
    set -l kinds '\\.(idl|[cm]?[jt]s)$'
    test "$argv[1]" = idl; and set kinds '\\.idl$'
    set -l typed (string replace -r '^~/' "$HOME/" -- (commandline -ct))
    for path in $typed*
        if test -d $path
            echo $path/
        else if string match -qir $kinds -- $path
            echo $path
        end
    end
end

# Methods, from the file on the command line
function __callisto_methods
    set -l words (commandline -opc)
    set -l command ''
    set -l file ''
    set -l place 0
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word --include --interface --timeout --user --domain --password-file --level --provider --kdc
            set skip 1
        else if string match -q -- '-*' $word
            continue
        else if test -z "$command"
            set command $word
        else
            set place (math $place + 1)
            if contains -- "$command $place" 'call 2' 'describe 1'
                set file (string replace -r '^~/' "$HOME/" -- $word)
            end
        end
    end
    test -n "$file"; and callisto describe $file --names 2>/dev/null
end
complete -c callisto -n '__fish_seen_subcommand_from call describe' -f -a '(__callisto_methods)'
`
}
