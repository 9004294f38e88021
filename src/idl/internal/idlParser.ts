/**
 * From the tokens of IDL files to their syntax trees, by recursive descent.
 *
 * A problem leaves out one declaration, field or parameter; the parser goes on behind it. Nothing here throws.
 */
import {
  type Budget,
  decode,
  integerOf,
  joined,
  maximumSize,
  maximumSizeOfAll,
  precedences,
  preprocess,
  Problems,
  shortened,
  type Token,
  tokensOf
} from "./idlLexer.ts"
import type {
  Arm,
  Attribute,
  BaseName,
  Declaration,
  Expression,
  Field,
  Level,
  Member,
  Place,
  Problem,
  Specifier,
  SyntaxFile,
  TypeName,
  UnionSpecifier
} from "./idlSyntax.ts"

/** How deep declarations, declarators and expressions may stand in each other. */
const maximumDepth = 128

/** The most stars and dimensions of one declarator. */
const maximumLevels = 32

/** The most attributes in front of one declaration. */
const maximumAttributes = 256

/** How often the parser may go over each token, at each depth and where it tries, before it gives a file up. */
const maximumStepsOfToken = 500

// ----------------------------------------------------------------------------
// words
// ----------------------------------------------------------------------------

const wordSet = (words: string): ReadonlySet<string> => new Set(words.split(/\s+/))

/** Attributes whose arguments stay text. */
const textAttributes = wordSet(
  "uuid async_uuid version custom implicit_handle cs_char contract guid threading annotate"
)

/** Attributes whose argument is a type. */
const typeAttributes = wordSet("switch_type wire_marshal transmit_as represent_as user_marshal")

/** All others that MIDL, DCE or Samba's pidl know. */
const otherAttributes = wordSet(`in out retval optional ref unique ptr full string ignore range size_is length_is max_is
  min_is first_is last_is switch_is case default object local pointer_default ms_union v1_enum context_handle handle
  pipe iid_is call_as callback async maybe broadcast idempotent message comm_status fault_status byte_count allocate
  enable_allocate heap notify notify_flag optimize code nocode in_line out_of_line encode decode strict_context_handle
  type_strict_context_handle context_handle_serialize context_handle_noserialize serialize noserialize
  cs_drtag cs_rtag cs_stag cs_tag_rtn disable_consistency_check force_allocate partial_ignore system_handle endpoint
  explicit_handle auto_handle helpstring helpstringcontext helpstringdll helpcontext helpfile id lcid propget propput
  propputref bindable defaultbind defaultcollelem defaultvalue defaultvtable displaybind dual hidden immediatebind
  nonbrowsable nonextensible noncreatable oleautomation proxy readonly replaceable requestedit restricted source
  uidefault usesgetlasterror vararg aggregatable appobject control dllname entry licensed public predeclid ole
  funcdescattr vi_progid progid odl activatable marshaling_behavior exclusiveto overload deprecated annotation
  noprint nopython nopush nopull nosize noheader noopnum noproxy no_srv_register noejs todo value charset flag helper pyhelper
  relative relative_short relative_base subcontext subcontext_size compression nodiscriminant gensize skip skip_noinit
  bitmap8bit bitmap16bit bitmap32bit bitmap64bit enum8bit enum16bit enum32bit keepref authservice depends property
  to_null null_is_ffffffff max_recursion`)

/** Attributes without which other bytes travel, so that what stands in their parentheses has to be read. */
const wireAttributes = wordSet(`size_is length_is max_is min_is first_is last_is switch_is case range iid_is call_as
  pointer_default switch_type wire_marshal transmit_as represent_as user_marshal`)

/** Words that say nothing to a remote call. */
const noiseWords = wordSet(`const volatile far near huge register static extern inline restrict pascal cdecl stdcall
  _far _near _huge _pascal _cdecl _stdcall __far __near __huge __pascal __cdecl __stdcall __fastcall __thiscall __inline
  __forceinline __const __volatile __restrict __unaligned UNALIGNED FAR NEAR CONST VOLATILE PASCAL WINAPI CALLBACK
  APIENTRY STDMETHODCALLTYPE STDAPICALLTYPE STDMETHODVCALLTYPE STDAPIVCALLTYPE RPC_FAR __RPC_FAR RPC_ENTRY __RPC_API
  __RPC_USER __RPC_STUB __RPC_CALLEE __RPC_STRING __declspec _declspec __attribute__ __in __out __inout __in_opt
  __out_opt __inout_opt __deref_out __deref_out_opt __export _export`)
const noisePattern =
  /^(?:DECLSPEC_\w+|_(?:In|Out|Inout|Outptr|Ret|Deref|Field|Reserved|Pre|Post)\w*_|__(?:in|out|inout|deref)_[a-z_]+)$/

/** Words that begin a declaration, where no field or parameter can stand. */
const declarationWords = wordSet(`typedef interface library coclass dispinterface module import importlib cpp_quote`)

/** What each closing bracket closes. */
const closed: { readonly [bracket: string]: string | undefined } = { ")": "(", "]": "[", "}": "{" }

const baseNames: ReadonlyMap<string, BaseName> = new Map<string, BaseName>([
  ["boolean", "boolean"],
  ["byte", "byte"],
  ["char", "char"],
  ["small", "small"],
  ["__int8", "small"],
  ["short", "short"],
  ["__int16", "short"],
  ["long", "long"],
  ["int", "long"],
  ["__int32", "long"],
  ["hyper", "hyper"],
  ["__int64", "hyper"],
  ["_int64", "hyper"],
  ["__int3264", "int3264"],
  ["float", "float"],
  ["double", "double"],
  ["wchar_t", "wchar_t"],
  ["__wchar_t", "wchar_t"],
  ["void", "void"],
  ["handle_t", "handle_t"],
  ["error_status_t", "error_status_t"]
])

/** The names of the base types. */
export const baseTypeNames: ReadonlyArray<string> = [...baseNames.keys()]

const signs = wordSet("signed unsigned __signed __signed__")
const structWords = wordSet("struct union enum bitmap")

const escapes: { readonly [letter: string]: string } = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
  "?": "?"
}

/** What stands between quotes. A backslash that begins no escape stays, as in `"\pipe"`. */
const unquoted = (text: string): string =>
  text.slice(text.startsWith("L") ? 2 : 1, -1).replace(
    /\\(?:x([0-9a-fA-F]{1,4})|([0-7]{1,3})|(\n)|([\s\S]))/g,
    (whole, hex?: string, octal?: string, line?: string, letter?: string) =>
      hex !== undefined
        ? String.fromCharCode(parseInt(hex, 16))
        : octal !== undefined
        ? String.fromCharCode(parseInt(octal, 8))
        : line !== undefined
        ? ""
        : escapes[letter!] ?? whole
  )

/** A comment without its signs. */
const plainComment = (comment: string | undefined): string | undefined => {
  if (comment === undefined || comment.length > 4096) return undefined
  const lines = comment.split("\n").map((line) =>
    (line.endsWith("*/") ? line.slice(0, -2) : line).trim().replace(/^(?:\/\/+!?|\/?\*+!?)/, "").trim()
  )
  return lines.filter((line) => !/^[-=*#/\s]*$/.test(line)).join("\n") || undefined
}

const knownAttributes: ReadonlyArray<string> = [...otherAttributes, ...textAttributes, ...typeAttributes]

const isKnownAttribute = (name: string): boolean =>
  otherAttributes.has(name) || textAttributes.has(name) || typeAttributes.has(name)

const placeOf = ({ column, file, line }: Place): Place => ({ file, line, column })

// ----------------------------------------------------------------------------
// the parser
// ----------------------------------------------------------------------------

/** Leads from a problem, which is in the list already, to the declaration that it leaves out. */
const failure: unique symbol = Symbol("failure")

/** The same where a brace is missing: the next declaration begins where the parser stands. */
const missingBrace: unique symbol = Symbol("missing brace")

interface Declarator {
  readonly name: string | undefined
  readonly levels: ReadonlyArray<Level>
  /** What the first level, a function, takes. */
  readonly parameters: ReadonlyArray<Field>
  readonly place: Place
}

type Where = "file" | "interface" | "class"

interface Import {
  readonly name: string
  readonly place: Place
}

class Parser {
  readonly imports: Array<Import> = []
  readonly defines: Array<Declaration> = []
  /** How many tokens the parser has stepped over, again and again where it goes back. */
  steps = 0
  private readonly tokens: ReadonlyArray<Token>
  private readonly problems: Problems
  private readonly maximumSteps: number
  private at = 0
  private depth = 0
  /** Whether problems stay unsaid, since the parser only tries. */
  private isTrying = false

  constructor(tokens: ReadonlyArray<Token>, problems: Problems) {
    this.tokens = tokens
    this.problems = problems
    this.maximumSteps = maximumStepsOfToken * tokens.length
  }

  /** All declarations of a file. */
  file(): Array<Declaration> {
    const declarations: Array<Declaration> = []
    for (;;) {
      this.declarations(declarations, "file")
      if (this.token.kind === "End") return declarations
      this.problem(this.token, 'file: got "}" without "{" in front of it. Remove it.')
      this.skip()
    }
  }

  /** The tokens as one expression, or `undefined`. */
  whole(): Expression | undefined {
    return this.attempt(() => {
      const expression = this.expression()
      return this.token.kind === "End" && isConstant(expression) ? expression : undefined
    })
  }

  // --------------------------------------------------------------------------
  // tokens
  // --------------------------------------------------------------------------

  private get token(): Token {
    return this.tokens[this.at]!
  }

  private peek(ahead = 1): Token {
    return this.tokens[Math.min(this.at + ahead, this.tokens.length - 1)]!
  }

  private skip(): Token {
    const { token } = this
    if (++this.steps >= this.maximumSteps) {
      if (this.steps === this.maximumSteps) {
        this.problems.add("error", token, "file: too many slips to go on, expected IDL. Correct those above first.")
      }
      this.at = this.tokens.length - 1
    }
    if (this.at < this.tokens.length - 1) this.at++
    return token
  }

  private is(text: string): boolean {
    const { token } = this
    return token.text === text && (token.kind === "Punctuator" || token.kind === "Name")
  }

  private take(text: string): boolean {
    const found = this.is(text)
    if (found) this.skip()
    return found
  }

  private problem(place: Place, message: string, severity: "error" | "warning" = "error"): void {
    if (!this.isTrying) this.problems.add(severity, place, message)
  }

  private fail(what: string, expected: string, next = `Correct the ${what}, or remove it.`): never {
    const { token } = this
    const got = token.kind === "End"
      ? "the end of the file"
      : token.kind === "String"
      ? shortened(token.text)
      : `"${shortened(token.text)}"`
    this.problem(token, `${what}: got ${got}, expected ${expected}. ${next}`)
    throw failure
  }

  private expect(text: string, what: string): void {
    if (!this.take(text)) this.fail(what, `"${text}"`)
  }

  /** A semicolon. At the end of a line it may be missing. */
  private semicolon(what: string): void {
    if (this.take(";")) return
    const { token } = this
    if (!token.isFirst && !this.is("}") && token.kind !== "End") this.fail(what, '";"')
    const last = this.tokens[Math.max(this.at - 1, 0)]!
    this.problem(last, `${what}: no ";" behind "${shortened(last.text)}", expected one. Add it.`, "warning")
  }

  private name(what: string): Token {
    return this.token.kind === "Name" ? this.skip() : this.fail(what, "a name")
  }

  private deeper<A>(what: string, body: () => A): A {
    if (this.depth >= maximumDepth) this.fail(what, `at most ${maximumDepth} in each other`, "Nest them less.")
    this.depth++
    const result = body()
    this.depth--
    return result
  }

  /** Tries; on a failure all is as before. */
  private attempt<A>(body: () => A | undefined): A | undefined {
    const { at, depth, isTrying } = this
    this.isTrying = true
    let result: A | undefined
    try {
      result = body()
    } catch (cause) {
      if (cause !== failure && cause !== missingBrace) throw cause
    }
    this.isTrying = isTrying
    if (result === undefined) {
      this.at = at
      this.depth = depth
    }
    return result
  }

  /** Runs `body`; on a failure goes on behind the next `;`, or in front of the `}` that closes what stands around. */
  private recover(body: () => void, onFailure?: () => void): void {
    const { at, depth } = this
    try {
      return body()
    } catch (cause) {
      if (cause !== failure && cause !== missingBrace || this.isTrying) throw cause
      this.depth = depth
      if (cause === failure) this.goOn(at)
    }
    onFailure?.()
  }

  private goOn(at: number): void {
    const failed = this.at
    let braces = 0
    let parentheses = 0
    for (this.at = at; this.token.kind !== "End"; this.skip()) {
      const { token } = this
      if (this.at >= failed && braces <= 0) {
        // Stray words end where a line begins a declaration.
        const isHead = parentheses <= 0 && (declarationWords.has(token.text) || token.text === "[")
        if (this.at > at && token.isFirst && (isHead || token.text === "typedef")) return
        if (token.text === ";") {
          this.skip()
          return
        }
      }
      if (token.kind !== "Punctuator") continue
      if (token.text === "(") parentheses++
      else if (token.text === ")") parentheses--
      else if (token.text === "{") braces++
      else if (token.text === "}") {
        if (braces <= 0 && this.at >= failed) return
        braces--
        if (braces === 0 && this.at >= failed) {
          this.skip()
          while (this.isTrailing()) this.skip()
          this.take(";")
          return
        }
      }
    }
  }

  /** Whether the token is of the declarators behind the braces of a declaration that is left out. */
  private isTrailing(): boolean {
    const { isFirst, kind, text } = this.token
    return kind === "Name" ? !isFirst && !declarationWords.has(text) : kind === "Punctuator" && /^[*,]$/.test(text)
  }

  /** What stands in parentheses, as text. */
  private parenthesised(what: string): string {
    const open = this.token
    this.expect("(", what)
    const begin = this.at
    for (let nesting = 0;; this.skip()) {
      // What cannot stand in them ends the search, so that each missing ")" costs its declaration alone.
      if (this.token.kind === "End" || this.is(";") || this.is("typedef") && this.token.isFirst) {
        this.problem(open, `${what}: no ")" behind it, expected one. Add it.`)
        throw failure
      }
      if (this.is("(")) nesting++
      if (this.is(")") && nesting-- === 0) break
    }
    const text = joined(this.tokens.slice(begin, this.at))
    this.skip()
    return text
  }

  // --------------------------------------------------------------------------
  // declarations
  // --------------------------------------------------------------------------

  /** Declarations up to a `}` or the end. */
  private declarations(into: Array<Declaration>, where: Where): void {
    while (this.token.kind !== "End" && !this.is("}")) {
      const before = this.at
      const { length } = into
      this.recover(() => this.declaration(into, where), () => {
        if (where === "interface") this.keepNumbers(into, length, before)
      })
      if (this.at === before) this.skip()
    }
  }

  /**
   * Puts an operation in the place of each that could not be read, among the tokens from `begin` on: without it those behind
   * it would have the wrong numbers.
   */
  private keepNumbers(into: Array<Declaration>, length: number, begin: number): void {
    const read = into.slice(length).filter(({ _tag }) => _tag === "Operation").length
    const found: Array<{ readonly token: Token; readonly attributes: ReadonlyArray<Attribute> }> = []
    const open: Array<string> = []
    let isOther = false
    let attributes: Array<Attribute> = []
    for (let at = begin; at < this.at; at++) {
      const { kind, text } = this.tokens[at]!
      if (kind === "Punctuator") {
        const opening = closed[text]
        if (/^[({[]$/.test(text)) open.push(text)
        else if (opening !== undefined && open.includes(opening)) open.length = open.lastIndexOf(opening)
        else if (open.length === 0 && text === ";") [isOther, attributes] = [false, []]
        else if (open.length === 0 && text === "=") isOther = true
      } else if (kind === "Name" && open.length === 1 && open[0] === "[") {
        attributes.push({
          name: text,
          arguments: [],
          type: undefined,
          text: undefined,
          place: placeOf(this.tokens[at]!)
        })
      } else if (kind === "Name" && open.length === 0) {
        if (declarationWords.has(text) || text === "midl_pragma") isOther = true
        const isNoise = noiseWords.has(text) || noisePattern.test(text)
        if (!isOther && !isNoise && this.tokens[at + 1]!.text === "(") {
          found.push({ token: this.tokens[at]!, attributes })
        }
      }
    }
    for (const { attributes, token } of found.slice(read)) {
      const place = placeOf(token)
      into.push({
        _tag: "Operation",
        name: token.text,
        attributes,
        result: { specifier: { _tag: "Base", name: "void", signed: undefined, place }, levels: [] },
        parameters: [],
        // What is open at the end may hold any number of others; call_as takes the number of one of them.
        unread: open.length > 0 || attributes.some(({ name }) => name === "call_as") ? "several" : "one",
        comment: undefined,
        place
      })
    }
  }

  private declaration(into: Array<Declaration>, where: Where): void {
    if (this.take(";")) return
    const { token } = this
    const comment = plainComment(token.comment)
    const place = placeOf(token)
    let attributes = this.attributes()
    if (this.is("declare") && (this.peek().kind === "Name" || this.peek().text === "[")) {
      this.skip()
      attributes = [...attributes, ...this.attributes()]
    }
    const next = this.peek()
    switch (this.token.kind === "Name" ? this.token.text : "") {
      case "import":
        return this.import()
      case "importlib":
        this.skip()
        this.parenthesised("importlib")
        this.take(";")
        return
      case "cpp_quote":
        return this.quote(place)
      case "midl_pragma":
        this.skip()
        this.name("midl_pragma")
        if (this.is("(")) this.parenthesised("midl_pragma")
        this.take(";")
        return
      case "typedef":
        return this.typedef(into, attributes, comment, place)
      case "interface":
      case "library":
      case "coclass":
      case "dispinterface":
      case "module":
        if (next.kind === "Name" && /^[{:;[]$/.test(this.peek(2).text)) {
          return this.block(into, attributes, comment, place)
        }
        break
      case "namespace":
      case "runtimeclass":
      case "apicontract":
      case "delegate":
        if (next.kind === "Name") {
          this.fail("file", "IDL of RPC or COM", "The language of the Windows Runtime cannot be imported.")
        }
        break
      case "properties":
      case "methods":
        if (where === "class" && next.text === ":") {
          this.skip()
          this.skip()
          return
        }
    }
    if (this.take(";")) return
    this.other(into, where, attributes, comment, place)
  }

  private import(): void {
    this.skip()
    do {
      const { token } = this
      if (token.kind !== "String") this.fail("import", "the name of a file in quotes")
      this.imports.push({ name: unquoted(this.skip().text), place: placeOf(token) })
    } while (this.take(","))
    this.semicolon("import")
  }

  private quote(place: Place): void {
    this.skip()
    this.expect("(", "cpp_quote")
    let text = ""
    while (this.token.kind === "String") text += unquoted(this.skip().text)
    this.expect(")", "cpp_quote")
    this.take(";")
    const match = text.length < 4096 ? /^\s*#\s*define\s+(\w+)\s+(\S.*)$/.exec(text) : null
    if (match !== null) this.define(match[1]!, tokensOf(match[2]!, place), place)
  }

  /** Adds a constant where the tokens are one. */
  define(name: string, tokens: ReadonlyArray<Token>, place: Place): void {
    const parser = new Parser([...tokens, endAt(place)], this.problems)
    const value = parser.whole()
    this.steps += parser.steps
    if (value !== undefined) this.defines.push({ _tag: "Define", name, value, place: placeOf(place) })
  }

  private typedef(
    into: Array<Declaration>,
    before: ReadonlyArray<Attribute>,
    comment: string | undefined,
    place: Place
  ): void {
    this.skip()
    const attributes = [...before, ...this.attributes()]
    const specifier = this.specifier("typedef", attributes)
    const declarators: Array<{ name: string; levels: ReadonlyArray<Level>; place: Place }> = []
    if (!this.is(";")) {
      do {
        if (declarators.length > 0 && this.is(";")) break
        const { levels, name, place } = this.declarator("typedef")
        if (name === undefined) this.fail("typedef", "a name")
        declarators.push({ name, levels, place })
      } while (this.take(","))
    }
    if (declarators.length > 0) into.push({ _tag: "Typedef", attributes, specifier, declarators, comment, place })
    else into.push({ _tag: "Type", specifier, comment, place })
    this.semicolon("typedef")
  }

  /** `interface`, `library`, `coclass`, `dispinterface`, `module`. */
  private block(
    into: Array<Declaration>,
    before: ReadonlyArray<Attribute>,
    comment: string | undefined,
    place: Place
  ): void {
    const kind = this.skip().text as "interface" | "library" | "coclass" | "dispinterface" | "module"
    const name = this.skip().text
    const attributes = this.is("[") ? [...before, ...this.attributes()] : before
    const base = this.take(":") ? this.name(kind).text : undefined
    while (base !== undefined && this.take(",")) {
      this.problem(
        this.token,
        `interface ${name}: got more than one base, expected one. Those behind the first are ignored.`,
        "warning"
      )
      this.name(kind)
    }
    const isInterface = kind === "interface"
    for (const { arguments: [kind], name: attribute, place } of attributes) {
      if (attribute !== "pointer_default" || kind?._tag === "Name" && /^(?:ref|unique|ptr)$/.test(kind.name)) continue
      this.problem(place, `interface ${name}: pointer_default says no kind, expected ref, unique or ptr. Correct it.`)
    }
    if (!this.is("{")) {
      this.semicolon(kind)
      if (isInterface || kind === "dispinterface") {
        into.push({ _tag: "Interface", name, base, attributes, isForward: true, declarations: [], comment, place })
      }
      return
    }
    const open = this.skip()
    const inner: Array<Declaration> = []
    this.deeper(kind, () => {
      if (kind === "coclass") this.members()
      else this.declarations(inner, isInterface ? "interface" : kind === "library" ? "file" : "class")
    })
    if (!this.take("}")) this.problem(open, `${kind} ${name}: no "}" for this "{", expected one. Add it.`)
    if (isInterface) {
      into.push({ _tag: "Interface", name, base, attributes, isForward: false, declarations: inner, comment, place })
    } else if (kind === "library") into.push({ _tag: "Library", name, attributes, declarations: inner, place })
    else {
      const declarations = inner.filter(({ _tag }) => _tag === "Typedef" || _tag === "Type" || _tag === "Const")
      into.push({ _tag: "Class", kind, name, attributes, declarations, place })
    }
  }

  /** Skips what stands in braces: the members of a coclass, the values of a list. */
  private members(): void {
    for (let braces = 0; this.token.kind !== "End"; this.skip()) {
      if (this.is("{")) braces++
      if (this.is("}") && braces-- === 0) return
    }
  }

  /** A type, a constant or an operation. */
  private other(
    into: Array<Declaration>,
    where: Where,
    attributes: ReadonlyArray<Attribute>,
    comment: string | undefined,
    place: Place
  ): void {
    const isConst = this.is("const")
    if (isConst && this.peek().kind === "Name" && this.peek(2).text === "=") {
      this.skip()
      const name = this.skip().text
      this.skip()
      into.push({ _tag: "Const", name, type: undefined, value: this.expression(), comment, place })
      return this.semicolon("const")
    }
    const { token } = this
    const isVariable = where === "class" || this.is("extern")
    const specifier = this.specifier("declaration", attributes)
    const isType = specifier._tag === "Struct" || specifier._tag === "Union" || specifier._tag === "Enum"
    if (isType && (this.is(";") || this.token.isFirst && !this.is("*") && !this.startsName())) {
      into.push({ _tag: "Type", specifier, comment, place })
      return this.semicolon(specifier._tag.toLowerCase())
    }
    if (token.kind === "Name" && this.is(":") && specifier._tag === "Named") this.fail("declaration", "a declaration")
    do {
      const { levels, name, parameters } = this.declarator("declaration")
      if (this.take("=")) {
        if (name === undefined) this.fail("const", "a name")
        if (this.is("{")) {
          this.problem(this.token, `const ${name}: got a list, expected one value. It is left out.`, "warning")
          this.skip()
          this.members()
          this.expect("}", "const")
        } else into.push({ _tag: "Const", name, type: { specifier, levels }, value: this.expression(), comment, place })
      } else if (levels[0]?._tag === "Function") {
        if (name === undefined) {
          this.fail(
            "operation",
            "the type of its result and its name",
            "Write void in front of it if it returns nothing."
          )
        }
        const result = { specifier, levels: levels.slice(1) }
        into.push({ _tag: "Operation", name, attributes, result, parameters, unread: undefined, comment, place })
      } else if (!isVariable) {
        if (name === undefined) this.fail("declaration", "a name")
        this.fail(`declaration of ${name}`, '"(" or "="', "Only operations, types and constants can stand here.")
      }
    } while (this.take(","))
    this.semicolon("declaration")
  }

  private startsName(): boolean {
    return this.token.kind === "Name" && /^[(;,[=]$/.test(this.peek().text)
  }

  // --------------------------------------------------------------------------
  // attributes
  // --------------------------------------------------------------------------

  private attributes(): Array<Attribute> {
    const attributes: Array<Attribute> = []
    const unknown: Array<Attribute> = []
    while (this.is("[")) {
      const open = this.skip()
      while (!this.is("]")) {
        if (this.take(",")) continue
        if (this.token.kind === "End" || /^[;{}]$/.test(this.token.text) && this.token.kind === "Punctuator") {
          this.problem(open, 'attributes: no "]" for this "[", expected one. Add it.')
          throw failure
        }
        const attribute = this.attribute()
        attributes.push(attribute)
        if (!isKnownAttribute(attribute.name)) unknown.push(attribute)
        if (attributes.length > maximumAttributes) {
          this.fail("attributes", `at most ${maximumAttributes} of one declaration`, "Remove some.")
        }
      }
      this.skip()
    }
    // Told at the end: without its "]" a list has no attributes.
    for (const { name, place } of unknown) {
      const meant = this.isTrying ? undefined : this.problems.suggestions.nearest(name, knownAttributes)
      this.problem(
        place,
        `attribute ${shortened(name)}: not known, so other bytes may travel.${
          meant === undefined ? "" : ` Do you mean [${meant}]?`
        } Correct it, or remove it.`
      )
    }
    return attributes
  }

  private attribute(): Attribute {
    const token = this.name("attributes")
    const name = token.text
    const place = placeOf(token)
    const attribute = { name, arguments: [], type: undefined, text: undefined, place }
    if (!this.is("(")) return attribute
    if (typeAttributes.has(name)) {
      const type = this.attempt(() => {
        this.skip()
        const type = this.typeName(name)
        return this.take(")") ? type : undefined
      })
      if (type !== undefined) return { ...attribute, type }
    } else if (otherAttributes.has(name)) {
      const args = this.attempt(() => this.argumentList())
      if (args !== undefined) return { ...attribute, arguments: args }
    }
    const text = this.parenthesised(name)
    if (isKnownAttribute(name) && !textAttributes.has(name)) {
      const isWire = wireAttributes.has(name)
      this.problem(
        token,
        `attribute ${name}: cannot read "${shortened(text)}", expected ${
          typeAttributes.has(name) ? "a type" : "expressions"
        }. ${isWire ? "Correct it." : "It stays text."}`,
        isWire ? "error" : "warning"
      )
    }
    return { ...attribute, text }
  }

  /** Expressions with commas between; each may be left out. */
  private argumentList(): Array<Expression | undefined> | undefined {
    const args: Array<Expression | undefined> = []
    this.skip()
    if (this.take(")")) return args
    do {
      args.push(this.is(",") || this.is(")") ? undefined : this.expression())
    } while (this.take(","))
    return this.take(")") ? args : undefined
  }

  // --------------------------------------------------------------------------
  // types
  // --------------------------------------------------------------------------

  /** Skips calling conventions and the like. */
  private noise(): void {
    for (; this.token.kind === "Name"; this.skip()) {
      const { text } = this.token
      if (!noiseWords.has(text) && !(text.length > 4 && noisePattern.test(text))) return
      const next = this.peek()
      if (next.text === "(" && (/^(?:__?(?:declspec|attribute__)|DECLSPEC_)/.test(text) || noisePattern.test(text))) {
        this.skip()
        this.parenthesised(text)
        // The loop steps over one token.
        this.at--
      } else if (text !== "const" && text !== "volatile" && /^(?:[;,)[=:]|)$/.test(next.text)) return
    }
  }

  /** The type in front of declarators. `outer` are attributes in front of it. */
  private specifier(what: string, outer: ReadonlyArray<Attribute> = []): Specifier {
    this.noise()
    const { token } = this
    const place = placeOf(token)
    if (token.kind !== "Name") this.fail(what, "a type")
    if (baseNames.has(token.text) || signs.has(token.text)) return this.base(place)
    const next = this.peek()
    if (structWords.has(token.text) && (next.kind === "Name" || next.text === "{" || next.text === "[")) {
      return this.deeper(token.text, () => this.body(place, outer))
    }
    this.skip()
    if (token.text === "pipe" && next.kind === "Name") {
      return this.deeper(
        "pipe",
        () => ({ _tag: "Pipe", element: { specifier: this.specifier("pipe"), levels: this.stars() }, place })
      )
    }
    if (token.text === "SAFEARRAY" && next.text === "(") {
      this.skip()
      const element = this.deeper("SAFEARRAY", () => this.typeName("SAFEARRAY"))
      this.expect(")", "SAFEARRAY")
      this.noise()
      return { _tag: "SafeArray", element, place }
    }
    const isTagged = /^(?:interface|coclass|dispinterface)$/.test(token.text) && next.kind === "Name"
    const name = isTagged ? this.skip().text : token.text
    this.noise()
    return { _tag: "Named", name, place }
  }

  /** A base type, whose words stand in any order. */
  private base(place: Place): Specifier {
    let name: BaseName | undefined
    let signed: boolean | undefined
    for (; this.token.kind === "Name"; this.skip(), this.noise()) {
      const { text } = this.token
      if (signs.has(text)) {
        if (signed !== undefined) break
        signed = text !== "unsigned"
        continue
      }
      const word = baseNames.get(text)
      if (word === undefined) break
      if (name === undefined) name = word
      else if (name === "long" && word === "long") {
        if (text === "long" && this.tokens[this.at - 1]!.text === "long") name = "hyper"
      } else if (text === "int" && /^(?:small|short|hyper)$/.test(name)) continue
      else if (name === "long" && /^(?:short|hyper|double)$/.test(word)) name = word
      else break
    }
    if (name === undefined && this.token.kind === "Name" && this.peek().kind === "Name") {
      const token = this.skip()
      const sign = signed === true ? "signed" : "unsigned"
      this.problem(
        token,
        `type ${token.text}: ${sign} stands in front of it. Only base types have a sign; it is ignored.`,
        "warning"
      )
      return { _tag: "Named", name: token.text, place }
    }
    return { _tag: "Base", name: name ?? "long", signed, place }
  }

  /** `struct`, `union`, `enum` or `bitmap`, with its tag and what stands in its braces. */
  private body(place: Place, outer: ReadonlyArray<Attribute>): Specifier {
    const kind = this.skip().text
    this.noise()
    const attributes = [...outer, ...this.attributes()]
    const tag = this.token.kind === "Name" && !(this.is("switch") && this.peek().text === "(")
      ? this.skip().text
      : undefined
    if (this.is("[") && this.peek().kind === "Name" && isKnownAttribute(this.peek().text)) {
      attributes.push(...this.attributes())
    }
    if (kind === "enum" || kind === "bitmap") {
      const members = this.is("{") ? this.enumeration(kind) : undefined
      this.noise()
      return { _tag: "Enum", tag, attributes, isBitmap: kind === "bitmap", members, place }
    }
    if (kind === "struct") {
      const fields = this.is("{") ? this.braced("struct", (fields: Array<Field>) => this.field(fields)) : undefined
      this.noise()
      return { _tag: "Struct", tag, attributes, fields, place }
    }
    let selector: UnionSpecifier["switch"]
    if (this.take("switch")) {
      this.expect("(", "switch")
      const type = this.specifier("switch")
      const name = this.name("switch").text
      this.expect(")", "switch")
      selector = {
        type: { specifier: type, levels: [] },
        name,
        union: this.token.kind === "Name" ? this.skip().text : undefined
      }
    }
    const arms = this.is("{") ? this.braced("union", (arms: Array<Arm>) => this.arm(arms)) : undefined
    this.noise()
    return { _tag: "Union", tag, attributes, switch: selector, arms, place }
  }

  /** What stands in the braces of a structure or union. */
  private braced<A>(what: string, item: (into: Array<A>) => void): Array<A> {
    const items: Array<A> = []
    const open = this.skip()
    while (!this.take("}")) {
      if (this.take(";")) continue
      const { token } = this
      if (
        token.kind === "End" ||
        token.isFirst && declarationWords.has(token.text) && this.peek().kind !== "Punctuator" &&
          token.text !== "interface"
      ) {
        this.problem(open, `${what}: no "}" for this "{", expected one. Add it.`)
        throw missingBrace
      }
      const before = this.at
      this.recover(() => item(items))
      if (this.at === before) this.skip()
    }
    return items
  }

  private field(into: Array<Field>): void {
    const comment = plainComment(this.token.comment)
    const place = placeOf(this.token)
    if (this.is("cpp_quote") && this.peek().text === "(") return this.quote(place)
    const attributes = this.attributes()
    this.fields(into, attributes, comment, place)
  }

  /** The fields that one type declares. */
  private fields(
    into: Array<Field>,
    attributes: ReadonlyArray<Attribute>,
    comment: string | undefined,
    place: Place
  ): void {
    const specifier = this.specifier("field")
    do {
      const { levels, name, place: own } = this.declarator("field")
      const isAnonymous = specifier._tag === "Struct" || specifier._tag === "Union" || specifier._tag === "Enum"
      const bits = this.take(":") ? this.expression() : undefined
      if (name === undefined && !isAnonymous && bits === undefined) this.fail("field", "a name")
      into.push({
        attributes,
        specifier,
        levels,
        name,
        bits,
        comment,
        place: into.length > 0 && name !== undefined ? own : place
      })
    } while (this.take(","))
    this.semicolon("field")
  }

  private arm(into: Array<Arm>): void {
    const comment = plainComment(this.token.comment)
    const place = placeOf(this.token)
    const labels: Array<Expression> = []
    let isDefault = false
    for (;;) {
      if (this.is("case")) {
        this.skip()
        labels.push(this.expression())
        this.expect(":", "case")
      } else if (this.is("default") && this.peek().text === ":") {
        this.skip()
        this.skip()
        isDefault = true
      } else break
    }
    const attributes = this.attributes().filter((attribute) => {
      if (attribute.name === "default") isDefault = true
      else if (attribute.name !== "case" || attribute.text !== undefined) return true
      for (const label of attribute.name === "case" ? attribute.arguments : []) {
        if (label !== undefined) labels.push(label)
      }
      return false
    })
    const fields: Array<Field> = []
    if (
      !this.take(";") && !(this.is("}") && (isDefault || labels.length > 0)) && !this.is("case") && !this.is("default")
    ) {
      this.fields(fields, attributes, comment, place)
    }
    if (fields.length === 0) into.push({ labels, isDefault, field: undefined, place })
    for (const field of fields) into.push({ labels, isDefault, field, place })
  }

  private enumeration(kind: string): Array<Member> {
    const members: Array<Member> = []
    const open = this.skip()
    while (!this.take("}")) {
      if (this.take(",") || this.take(";")) continue
      const { token } = this
      if (token.kind === "End" || declarationWords.has(token.text) && token.isFirst) {
        this.problem(open, `${kind}: no "}" for this "{", expected one. Add it.`)
        throw missingBrace
      }
      this.recover(() => {
        this.attributes()
        const name = this.name(`member of ${kind}`)
        const value = this.take("=") ? this.expression() : undefined
        members.push({ name: name.text, value, comment: plainComment(token.comment), place: placeOf(name) })
        if (this.is(",") || this.is("}") || this.is(";")) return
        if (!this.token.isFirst || this.token.kind !== "Name") this.fail(`member of ${kind}`, '"," or "}"')
        this.problem(
          this.token,
          `${kind}: no "," in front of "${shortened(this.token.text)}", expected one. Add it.`,
          "warning"
        )
      })
    }
    return members
  }

  private typeName(what: string): TypeName {
    const specifier = this.specifier(what)
    return { specifier, levels: this.declarator(what).levels }
  }

  // --------------------------------------------------------------------------
  // declarators
  // --------------------------------------------------------------------------

  private stars(): Array<Level> {
    const levels: Array<Level> = []
    for (this.noise(); this.is("*"); this.noise()) {
      this.skip()
      levels.push({ _tag: "Pointer" })
      if (levels.length > maximumLevels) this.fail("declarator", `at most ${maximumLevels} stars`)
    }
    return levels
  }

  /** A declarator of C, with or without a name. */
  private declarator(what: string): Declarator {
    const stars = this.stars()
    const place = placeOf(this.token)
    let name: string | undefined
    let inner: Declarator | undefined
    if (this.is("(") && this.isNested()) {
      this.skip()
      inner = this.deeper("declarator", () => this.declarator(what))
      this.expect(")", what)
      name = inner.name
    } else if (this.token.kind === "Name") {
      name = this.skip().text
      this.noise()
    }
    const levels = [...inner?.levels ?? []]
    let parameters = inner?.parameters ?? []
    for (;;) {
      if (this.is("(")) {
        const taken = this.deeper("parameters", () => this.parameters())
        if (levels.length === 0) parameters = taken
        levels.push({ _tag: "Function" })
        this.noise()
      } else if (this.is("[") && !this.isDirection()) levels.push(this.dimension())
      else break
      if (levels.length > maximumLevels) this.fail("declarator", `at most ${maximumLevels} dimensions`)
    }
    return { name, levels: levels.concat(stars), parameters, place: inner?.place ?? place }
  }

  /** Whether `(` begins a declarator in parentheses rather than parameters. */
  private isNested(): boolean {
    let ahead = 1
    while (noiseWords.has(this.peek(ahead).text)) ahead++
    const { kind, text } = this.peek(ahead)
    if (kind === "Punctuator") return text === "*" || text === "("
    return kind === "Name" && !baseNames.has(text) && /^[)([]$/.test(this.peek(ahead + 1).text)
  }

  /** Whether `[in` or `[out` stands where a comma is missing. */
  private isDirection(): boolean {
    return /^(?:in|out)$/.test(this.peek().text) && /^[\],]$/.test(this.peek(2).text)
  }

  private dimension(): Level {
    this.skip()
    const level = (bound?: Expression, lower?: Expression, isRange = false): Level => {
      this.expect("]", "dimension")
      return { _tag: "Dimension", bound, lower, isRange }
    }
    if (this.is("]")) return level()
    const isOpen = () => this.is("*") && /^(?:\]|\.\.)$/.test(this.peek().text) && this.skip() !== undefined
    const lower = isOpen() ? undefined : this.expression()
    if (!this.take("..")) return level(lower)
    return level(isOpen() ? undefined : this.expression(), lower, true)
  }

  private parameters(): Array<Field> {
    const open = this.skip()
    const fields: Array<Field> = []
    while (!this.take(")")) {
      if (this.take(",") || this.take("...")) continue
      const { token } = this
      if (token.kind === "End" || this.is("}") || this.is("{") || this.is(";")) {
        this.problem(open, 'parameters: no ")" for this "(", expected one. Add it.')
        throw failure
      }
      const comment = plainComment(token.comment)
      const attributes = this.attributes()
      if (this.is("void") && this.peek().text === ")" && fields.length === 0) {
        this.skip()
        continue
      }
      if (this.is(")") && attributes.length > 0) this.fail("parameter", "a type")
      const specifier = this.specifier("parameter")
      const { levels, name } = this.declarator("parameter")
      if (this.is("=")) {
        this.problem(this.token, "parameter: has a default value. It is ignored.", "warning")
        this.skip()
        this.expression()
      }
      fields.push({ attributes, specifier, levels, name, bits: undefined, comment, place: placeOf(token) })
      if (this.is(",") || this.is(")")) continue
      const { token: next } = this
      if (!this.is("[") && !(next.isFirst && next.kind === "Name")) this.fail("parameter", '"," or ")"')
      this.problem(next, `parameter: no "," in front of "${shortened(next.text)}", expected one. Add it.`, "warning")
    }
    return fields
  }

  // --------------------------------------------------------------------------
  // expressions
  // --------------------------------------------------------------------------

  private expression(): Expression {
    return this.deeper("expression", () => {
      const test = this.binary(1)
      if (!this.take("?")) return test
      const yes = this.expression()
      this.expect(":", "expression")
      return { _tag: "Conditional", test, yes, no: this.expression() }
    })
  }

  private binary(least: number): Expression {
    const { depth } = this
    let left = this.unary()
    for (;;) {
      const operator = this.token.text
      const precedence = this.token.kind === "Punctuator" ? precedences.get(operator) : undefined
      if (precedence === undefined || precedence < least) break
      // A chain is as deep a tree as it is long.
      if (++this.depth > 2 * maximumDepth) {
        this.fail("expression", `at most ${2 * maximumDepth} operators`, "Make it shorter.")
      }
      this.skip()
      left = { _tag: "Binary", operator, left, right: this.binary(precedence + 1) }
    }
    this.depth = depth
    return left
  }

  private unary(): Expression {
    const { token } = this
    if (token.kind === "Punctuator" && /^[-+~!*&]$/.test(token.text)) {
      this.skip()
      const operator = token.text as "-" | "+" | "~" | "!" | "*" | "&"
      return this.deeper("expression", () => ({ _tag: "Unary", operator, operand: this.unary() }))
    }
    if (this.is("(") && this.isCast()) {
      this.skip()
      return this.deeper("expression", () => {
        const type = this.typeName("cast")
        this.expect(")", "cast")
        return { _tag: "Cast", type, operand: this.unary() }
      })
    }
    const { depth } = this
    let object = this.primary()
    while (this.is(".") || this.is("->")) {
      if (++this.depth > 2 * maximumDepth) {
        this.fail("expression", `at most ${2 * maximumDepth} operators`, "Make it shorter.")
      }
      const arrow = this.skip().text === "->"
      object = { _tag: "Member", object, arrow, name: this.name("expression").text }
    }
    this.depth = depth
    return object
  }

  private primary(): Expression {
    const { token } = this
    switch (token.kind) {
      case "Number":
        this.skip()
        return this.number(token)
      case "Character":
        this.skip()
        return { _tag: "Character", value: unquoted(token.text) }
      case "String": {
        let value = ""
        while (this.token.kind === "String") value += unquoted(this.skip().text)
        return { _tag: "Text", value, wide: token.text.startsWith("L") }
      }
      case "Name":
        this.skip()
        if (token.text === "sizeof" && this.take("(")) {
          const type = this.deeper("sizeof", () => this.typeName("sizeof"))
          this.expect(")", "sizeof")
          return { _tag: "SizeOf", type }
        }
        // A call of pidl has no value here: it stays text, which no name matches.
        return { _tag: "Name", name: this.is("(") ? `${token.text}(${this.parenthesised(token.text)})` : token.text }
    }
    if (!this.take("(")) this.fail("expression", "a number, a name or text")
    const inner = this.expression()
    this.expect(")", "expression")
    return inner
  }

  private number(token: Token): Expression {
    const value = integerOf(token.text)
    if (value !== undefined) return { _tag: "Integer", value }
    const real = /^((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[fFlL]?$/.exec(token.text)?.[1]
    if (real !== undefined && /[.eE]/.test(real)) return { _tag: "Real", value: Number(real) }
    this.problem(token, `number: got "${shortened(token.text)}", expected an integer or a real. Correct it.`)
    throw failure
  }

  /** Whether `(` begins a cast: a type in parentheses, and an operand behind it. */
  private isCast(): boolean {
    const { kind, text } = this.peek()
    if (kind !== "Name") return false
    if (baseNames.has(text) || signs.has(text) || structWords.has(text) || noiseWords.has(text)) return true
    let ahead = 2
    while (this.peek(ahead).text === "*" && ahead < maximumLevels) ahead++
    if (this.peek(ahead).text !== ")") return false
    if (ahead > 2) return true
    const next = this.peek(ahead + 1)
    return next.kind === "Punctuator" ? /^[(~!]$/.test(next.text) : next.kind !== "End"
  }
}

/** Whether an expression can be a constant: a number, text, or names. */
const isConstant = (expression: Expression): boolean => {
  switch (expression._tag) {
    case "Unary":
      return /^[-+~!]$/.test(expression.operator) && isConstant(expression.operand)
    case "Binary":
      return isConstant(expression.left) && isConstant(expression.right)
    case "Conditional":
      return isConstant(expression.test) && isConstant(expression.yes) && isConstant(expression.no)
    case "Cast":
      return isConstant(expression.operand)
    case "Name":
      return !expression.name.includes("(") && !noiseWords.has(expression.name) && !structWords.has(expression.name) &&
        !baseNames.has(expression.name) && !declarationWords.has(expression.name) && !signs.has(expression.name)
    case "Member":
      return false
    default:
      return true
  }
}

const endAt = ({ column, file, line }: Place): Token => ({
  kind: "End",
  text: "",
  file,
  line,
  column,
  isFirst: true,
  isSpaced: true,
  comment: undefined,
  isPainted: false
})

// ----------------------------------------------------------------------------
// files
// ----------------------------------------------------------------------------

/** What the files of an import are made of, and what is wrong with them. */
export interface Parsed {
  /** In the order of their imports; the main file is the last. */
  readonly files: ReadonlyArray<SyntaxFile>
  /** Names in imports and includes that no file has. */
  readonly missing: ReadonlyArray<string>
  readonly problems: ReadonlyArray<Problem>
  /** What the parser has spent: tokens read, tokens that macros made, steps over tokens. */
  readonly spent: { readonly tokens: number; readonly expanded: number; readonly steps: number }
}

/** Parses a file and all that it imports, each file once. */
export const parseFiles = (
  sources: { readonly [name: string]: string | Uint8Array },
  main: string,
  isBuiltIn: (name: string) => boolean = () => false
): Parsed => {
  const problems = new Problems()
  const budget: Budget = { size: 0, tokens: 0, expanded: 0, included: 0 }
  const missing = new Map<string, string>()
  const texts = new Map<string, string | undefined>()
  let steps = 0

  const whole = new Map<string, string>()
  const segments = new Map<string, string>()
  for (const name of Object.keys(sources)) {
    const key = keyOf(name)
    if (!whole.has(key)) whole.set(key, name)
    const segment = lastSegment(key)
    if (!segments.has(segment)) segments.set(segment, name)
  }
  /** The name of the file that an import means. */
  const find = (name: string, place: Place, what: string): string | undefined => {
    const key = keyOf(name)
    const found = whole.get(key) ?? segments.get(lastSegment(key))
    if (found === undefined && !missing.has(key)) {
      missing.set(key, name)
      if (!isBuiltIn(name)) {
        const message = `${what} ${
          shortened(name)
        }: not found. Give the file; the command line takes its folder as --include DIR.`
        problems.add("warning", place, message)
      }
    }
    return found
  }
  const textOf = (name: string): string | undefined => {
    if (texts.has(name)) return texts.get(name)
    const source = sources[name]!
    const { length } = source
    budget.size += length
    const problem = length > maximumSize
      ? `file: ${length} bytes, expected at most ${maximumSize}. Split it.`
      : budget.size > maximumSizeOfAll
      ? `file: ${budget.size} bytes with those before it, expected at most ${maximumSizeOfAll}. Import less.`
      : undefined
    if (problem !== undefined) {
      budget.size -= length
      problems.add("error", { file: name, line: 1, column: 1 }, problem)
    }
    const text = problem !== undefined ? undefined : typeof source === "string" ? source : decode(source)
    texts.set(name, text)
    return text
  }
  const parse = (name: string, text: string): SyntaxFile => {
    const { defines, tokens } = preprocess(
      name,
      text,
      (wanted, place) => {
        const found = find(wanted, place, "#include")
        const included = found === undefined ? undefined : textOf(found)
        return included === undefined ? undefined : { name: found!, text: included }
      },
      problems,
      budget
    )
    const parser = new Parser(tokens, problems)
    for (const { body, name, place } of defines) parser.define(name, body, place)
    const declarations = parser.file()
    steps += parser.steps
    return { name, imports: parser.imports, declarations: [...parser.defines, ...declarations] }
  }

  const files: Array<SyntaxFile> = []
  const begun = new Set<string>()
  const open: Array<{ readonly file: SyntaxFile; next: number }> = []
  const begin = (name: string) => {
    begun.add(name)
    const text = textOf(name)
    if (text !== undefined) open.push({ file: parse(name, text), next: 0 })
  }
  if (Object.hasOwn(sources, main)) begin(main)
  else {
    const problem = `file ${main}: not among the sources. Give its text under this name.`
    problems.add("error", { file: main, line: 1, column: 1 }, problem)
  }
  while (open.length > 0) {
    const top = open[open.length - 1]!
    const wanted = top.file.imports[top.next++]
    if (wanted === undefined) {
      files.push(top.file)
      open.pop()
    } else {
      const found = find(wanted.name, wanted.place, "import")
      if (found !== undefined && !begun.has(found)) begin(found)
    }
  }
  const { expanded, tokens } = budget
  return { files, missing: [...missing.values()], problems: problems.all, spent: { tokens, expanded, steps } }
}

const keyOf = (name: string): string => name.replaceAll("\\", "/").replace(/^(?:\.\/)+/, "").toLowerCase()

const lastSegment = (key: string): string => key.slice(key.lastIndexOf("/") + 1)
