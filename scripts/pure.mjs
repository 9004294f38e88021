/**
 * Marks the calls that make a module's constants as free of side effects, so that bundlers drop those that a program does not use.
 * A module's constants are what begins in a line's first column; whatever else it calls when it is loaded stays as it is.
 */
export const markPure = (code) =>
  code.replace(/^((?:export )?const [\w$]+ = )(?=(?:new )?[\w$.]+\()/gm, "$1/* @__PURE__ */ ")
